"""Tests of the documents: what they name exists, and what a command draws in them is drawn anew."""
