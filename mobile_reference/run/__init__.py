"""Runs the models of a bundle, and the whole pipeline by them."""
