"""What people look at: progress and pictures."""
