"""Conversions planned, and run in processes of their own."""
