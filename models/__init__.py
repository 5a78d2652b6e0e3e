"""The PyTorch components, the composed pipeline, checkpoints and training."""
