"""What an app does before the first model: it reads a photograph and aligns the face."""
