"""Shipping: bundles, prediction, ONNX; a trained net for those who only use it."""
