"""Bundles that are kept: what a key has in it, what is found, and what an export does with it."""
