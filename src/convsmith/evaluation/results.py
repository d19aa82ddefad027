"""Build the record of an evaluation: metrics, most confident mistakes, highest losses."""

import numpy as np

from convsmith.evaluation.calibration import RiskCoverage
from convsmith.evaluation.metrics import Metrics, highest_losses, mistakes
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import (
    PredictedImage,
    PredictionCheck,
    Results,
    RiskCoverageSummary,
    SplitResults,
)
from convsmith.training.metrics import SplitMetrics

NUM_LISTED = 25
COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)


def results_of(
    metrics: Metrics,
    predictions: Predictions,
    class_names: tuple[str, ...],
    *,
    train: SplitMetrics,
    test_loss: float,
    prediction_check: PredictionCheck | None = None,
) -> Results:
    """Build the record of an evaluation.

    Args:
        metrics: Of the predictions.
        predictions: For the test images.
        class_names: In the order of the labels.
        train: On the plain training images.
        test_loss: Mean cross-entropy of the test images in nats, as the training log has it.
        prediction_check: The comparison of `predict` with these predictions.
    """
    return Results(
        imbalanced=metrics.is_imbalanced,
        train=train,
        test=split_results(metrics, predictions, class_names, test_loss),
        classes=metrics.classes,
        prediction_check=prediction_check,
    )


def split_results(
    metrics: Metrics, predictions: Predictions, class_names: tuple[str, ...], loss: float
) -> SplitResults:
    """Build the record of the metrics of a split.

    Args:
        metrics: Of the predictions.
        predictions: For the images of the split.
        class_names: In the order of the labels.
        loss: Mean cross-entropy of the images in nats.
    """
    balanced = metrics.balanced_interval
    return SplitResults(
        loss=loss,
        correct=metrics.correct,
        total=metrics.total,
        accuracy=metrics.accuracy,
        accuracy_95=(metrics.interval.low, metrics.interval.high),
        balanced_accuracy=metrics.balanced_accuracy,
        balanced_accuracy_95=(balanced.low, balanced.high) if balanced else None,
        macro_f1=metrics.macro_f1,
        top_accuracy={str(k): share for k, share in metrics.top_accuracy.items()},
        most_confused=metrics.confused_pairs,
        calibration=metrics.calibration.model_copy(update={"prior": metrics.prior_sentence()}),
        risk_coverage=_summary(metrics.risk_coverage),
        most_confident_mistakes=_images(predictions, mistakes(predictions)[:NUM_LISTED], class_names),
        highest_losses=_images(predictions, highest_losses(predictions, NUM_LISTED), class_names),
        confusion=None if metrics.confusion is None else tuple(map(tuple, metrics.confusion.tolist())),
    )


def _summary(curve: RiskCoverage) -> RiskCoverageSummary:
    return RiskCoverageSummary(
        area=curve.area,
        best_area=curve.best_area,
        risk_at_coverage={f"{share:g}": curve.risk_at(share) for share in COVERAGES},
    )


def _images(
    predictions: Predictions, indices: Indices, class_names: tuple[str, ...]
) -> tuple[PredictedImage, ...]:
    predicted, confidence, losses = predictions.predicted, predictions.confidence, predictions.losses
    return tuple(
        PredictedImage(
            index=int(index),
            id=None if predictions.ids is None else str(np.char.decode(predictions.ids[index])),
            label=class_names[predictions.labels[index]],
            predicted=class_names[predicted[index]],
            confidence=float(confidence[index]),
            loss=float(losses[index]),
        )
        for index in indices
    )
