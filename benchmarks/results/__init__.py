"""Records of measurements, their statistics, and comparisons of them."""
