"""Export models: source code, bundles, ONNX, projects."""
