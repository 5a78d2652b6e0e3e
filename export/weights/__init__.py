"""Weights before a platform sees them: batch normalisation folded, rounded by covariance."""
