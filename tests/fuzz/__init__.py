"""Inputs that are damaged on purpose, put to the real commands; see docs/maintaining/reliability.md."""
