"""Evaluation: predictions, metrics, calibration, explanations, robustness, duplicates, label errors."""
