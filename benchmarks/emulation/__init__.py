"""LiteRT's ARM64 kernels on an emulated processor."""
