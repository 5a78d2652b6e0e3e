"""Converters and quantisers beside each other."""
