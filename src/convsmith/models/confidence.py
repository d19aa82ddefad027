"""The test metrics of a bundle."""

from convsmith.evaluation.calibration import expected_calibration_error, reliability_bins
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.metrics import compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.models.bundle_schema import ClassCount, TestMetrics


def compute_test_metrics(
    predictions: Predictions, class_names: tuple[str, ...], confidence: Confidence
) -> TestMetrics:
    """Compute the metrics of a bundle from the predictions for the test set."""
    metrics = compute_metrics(predictions, class_names)
    scaled, wrong = predictions.confidence_at(confidence.temperature), predictions.wrong
    unsure = scaled < confidence.unsure_below
    return TestMetrics(
        correct=metrics.correct,
        total=metrics.total,
        low=metrics.interval.low,
        high=metrics.interval.high,
        loss=metrics.loss,
        ece=metrics.calibration.ece,
        calibrated_ece=expected_calibration_error(reliability_bins(scaled, ~wrong)),
        unsure=float(unsure.mean()),
        unsure_among_wrong=float(unsure[wrong].mean()) if wrong.any() else None,
        accuracy_if_sure=None if unsure.all() else float((~wrong)[~unsure].mean()),
        classes=tuple(ClassCount(correct=each.correct, total=each.total) for each in metrics.classes),
    )
