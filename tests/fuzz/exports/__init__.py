"""Exports that the fuzzer strikes, or that meet files of somebody else."""
