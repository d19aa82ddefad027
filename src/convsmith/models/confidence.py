"""How a net's answers are to be believed: its temperature, and the confidence below which it is unsure."""

from typing import Literal

import numpy as np

from convsmith.evaluation.calibration import expected_calibration_error, fit_temperature, reliability_bins
from convsmith.evaluation.metrics import Metrics, compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.models.bundle_schema import ClassCount, Confidence, Measured

# Of the right answers, that are surer than the threshold.
SURER = 0.95


def fitted(predictions: Predictions, on: Literal["validation", "test"]) -> Confidence:
    """Fit temperature and threshold to a split's predictions.

    The temperature is that of the smallest loss (Guo et al., arXiv 1706.04599), 1 where none is best.
    The threshold is the confidence that 95 % of the right answers reach: the working point at which
    detectors of strange images are compared, with the largest probability as the score (Hendrycks and
    Gimpel, arXiv 1610.02136).

    Example:
        >>> logits = np.array([[3.0, 0], [2, 0], [0, 1], [1, 0]], np.float32)
        >>> found = fitted(Predictions(logits=logits, labels=np.array([0, 0, 1, 1])), "test")
        >>> 0.5 < found.unsure_below < 0.9
        True
    """
    temperature = fit_temperature(predictions) or 1.0
    warmed = at_temperature(predictions, temperature)
    right = warmed.confidence[~warmed.wrong]
    # The lower neighbour, so that at least 95 % reach it.
    threshold = float(np.quantile(right, 1 - SURER, method="lower")) if len(right) else 0.0
    return Confidence(temperature=temperature, unsure_below=threshold, fitted_on=on, images=len(predictions))


def at_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions with their logits over a temperature."""
    return Predictions(logits=predictions.logits / np.float32(temperature), labels=predictions.labels)


def measured(predictions: Predictions, class_names: tuple[str, ...], confidence: Confidence) -> Measured:
    """What a net's predictions for the test images come to."""
    facts: Metrics = compute_metrics(predictions, class_names)
    warmed = at_temperature(predictions, confidence.temperature)
    unsure, wrong = warmed.confidence < confidence.unsure_below, predictions.wrong
    return Measured(
        correct=facts.correct,
        total=facts.total,
        low=facts.interval.low,
        high=facts.interval.high,
        loss=facts.loss,
        ece=facts.calibration.ece,
        calibrated_ece=expected_calibration_error(reliability_bins(warmed.confidence, ~wrong)),
        unsure=float(unsure.mean()),
        unsure_among_wrong=float(unsure[wrong].mean()) if wrong.any() else None,
        accuracy_if_sure=None if unsure.all() else float((~wrong)[~unsure].mean()),
        classes=tuple(ClassCount(correct=each.correct, total=each.total) for each in facts.classes),
    )
