"""Variants judged and packed as a bundle."""
