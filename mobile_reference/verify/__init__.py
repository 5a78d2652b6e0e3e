"""Converted models beside the float pipeline: stages, held-out inputs, layers, repeatability, limits."""
