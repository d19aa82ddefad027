"""Temperature scaling, the low-confidence threshold, and the test metrics of a bundle."""

from typing import Literal

import numpy as np

from convsmith.evaluation.calibration import expected_calibration_error, fit_temperature, reliability_bins
from convsmith.evaluation.metrics import compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.models.bundle_schema import ClassCount, Confidence, TestMetrics

# The share of correct predictions at or above the threshold.
COVERAGE = 0.95


def fit_confidence(predictions: Predictions, split: Literal["validation", "test"]) -> Confidence:
    """Fit temperature and threshold to the predictions for a split.

    The temperature minimises the loss (Guo et al., arXiv 1706.04599); it is 1 if no finite one does. The
    threshold is the confidence that 95 % of the correct predictions reach. Detectors of out-of-distribution
    images are usually compared at this operating point, with the largest probability as the score (Hendrycks
    and Gimpel, arXiv 1610.02136).

    Example:
        >>> logits = np.array([[3.0, 0], [2, 0], [0, 1], [1, 0]], np.float32)
        >>> confidence = fit_confidence(Predictions(logits=logits, labels=np.array([0, 0, 1, 1])), "test")
        >>> 0.5 < confidence.unsure_below < 0.9
        True
    """
    temperature = fit_temperature(predictions) or 1.0
    scaled = at_temperature(predictions, temperature)
    correct = scaled.confidence[~scaled.wrong]
    # The lower neighbour, so that at least 95 % reach it.
    threshold = float(np.quantile(correct, 1 - COVERAGE, method="lower")) if len(correct) else 0.0
    return Confidence(
        temperature=temperature, unsure_below=threshold, fitted_on=split, images=len(predictions)
    )


def at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Divide the logits by a temperature."""
    return Predictions(logits=predictions.logits / np.float32(temperature), labels=predictions.labels)


def compute_test_metrics(
    predictions: Predictions, class_names: tuple[str, ...], confidence: Confidence
) -> TestMetrics:
    """Compute the metrics of a bundle from the predictions for the test set."""
    metrics = compute_metrics(predictions, class_names)
    scaled = at_temperature(predictions, confidence.temperature)
    unsure, wrong = scaled.confidence < confidence.unsure_below, predictions.wrong
    return TestMetrics(
        correct=metrics.correct,
        total=metrics.total,
        low=metrics.interval.low,
        high=metrics.interval.high,
        loss=metrics.loss,
        ece=metrics.calibration.ece,
        calibrated_ece=expected_calibration_error(reliability_bins(scaled.confidence, ~wrong)),
        unsure=float(unsure.mean()),
        unsure_among_wrong=float(unsure[wrong].mean()) if wrong.any() else None,
        accuracy_if_sure=None if unsure.all() else float((~wrong)[~unsure].mean()),
        classes=tuple(ClassCount(correct=each.correct, total=each.total) for each in metrics.classes),
    )
