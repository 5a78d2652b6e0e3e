"""Rewrites of a TFLite graph, one a file."""
