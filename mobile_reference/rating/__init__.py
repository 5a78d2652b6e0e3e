"""Rating many photographs: what is read, which processes share it, and where the rows go."""
