"""CPU work-arounds and fused kernels."""
