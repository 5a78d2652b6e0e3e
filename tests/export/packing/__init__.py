"""Tests of how bundles are packed."""
