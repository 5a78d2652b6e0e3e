"""The search for the precision of every block."""
