"""Networks: notation, spec, plan, analysis, PyTorch module, source code."""
