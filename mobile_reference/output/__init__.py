"""What mien writes: whole files and folders, JSON, and foreign text as people can read it."""
