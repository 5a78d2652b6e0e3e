"""From PyTorch to TFLite and Core ML, quantised, and packed as a bundle."""
