"""The analysis of any PyTorch module, by tracing its forward pass."""
