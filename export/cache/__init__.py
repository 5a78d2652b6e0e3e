"""Bundles that were made before, kept by all that they follow from; nothing here imports PyTorch."""
