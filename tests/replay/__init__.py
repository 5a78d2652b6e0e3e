"""Shows that a change keeps the product: what two commits make of the shipped checkpoint, side by side.

``python -m tests.replay`` (``make replay``) is described in docs/maintaining/replay.md.
"""
