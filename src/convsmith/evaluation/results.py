"""Facts as plain tables for results.json and `--json`; what is not defined is null."""

from typing import Any

import numpy as np

from convsmith.evaluation.calibration import Calibration, RiskCoverage
from convsmith.evaluation.metrics import ClassMetrics, Metrics, highest_losses, mistakes
from convsmith.evaluation.predictions import Indices, Predictions

# A larger confusion matrix is left out of the record; it follows from predictions.npz.
LARGEST_MATRIX = 100
NUM_LISTED = 25
COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)


def facts_record(facts: Metrics, predictions: Predictions, class_names: tuple[str, ...]) -> dict[str, Any]:
    """All facts of a split."""
    small = len(facts.classes) <= LARGEST_MATRIX
    return {
        "loss": facts.loss,
        "correct": facts.correct,
        "total": facts.total,
        "accuracy": facts.accuracy,
        "accuracy_95": [facts.interval.low, facts.interval.high],
        "macro_f1": facts.macro_f1,
        "top_accuracy": {str(k): share for k, share in facts.top.items()},
        "most_confused": [
            {"true": pair.true, "predicted": pair.predicted, "count": pair.count} for pair in facts.pairs
        ],
        "calibration": _calibration(facts.calibration),
        "risk_coverage": _risk_coverage(facts.risk_coverage),
        "most_confident_mistakes": _images(predictions, mistakes(predictions)[:NUM_LISTED], class_names),
        "highest_losses": _images(predictions, highest_losses(predictions, NUM_LISTED), class_names),
        "confusion": facts.confusion.tolist() if small else None,
    }


def classes_record(facts: tuple[ClassMetrics, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "correct": each.correct,
            "total": each.total,
            "predicted": each.predicted,
            "accuracy": each.accuracy,
            "precision": each.precision,
            "recall": each.accuracy,
            "f1": each.f1,
        }
        for each in facts
    ]


def _calibration(found: Calibration) -> dict[str, Any]:
    return {
        "ece": found.ece,
        "mean_confidence": found.mean_confidence,
        "temperature": found.temperature,
        "ece_at_temperature": found.ece_at_temperature,
        "temperature_fitted_on": "these predictions",
        "bins": [
            {
                "low": each.low,
                "high": each.high,
                "count": each.count,
                "confidence": each.confidence,
                "accuracy": each.accuracy,
            }
            for each in found.bins
        ],
    }


def _risk_coverage(found: RiskCoverage) -> dict[str, Any]:
    return {
        "area": found.area,
        "best_area": found.best_area,
        "risk_at_coverage": {f"{share:g}": found.risk_at(share) for share in COVERAGES},
    }


def _images(predictions: Predictions, indices: Indices, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    predicted, confidence, losses = predictions.predicted, predictions.confidence, predictions.losses
    return [
        {
            "index": int(index),
            "id": None if predictions.ids is None else str(np.char.decode(predictions.ids[index])),
            "label": class_names[predictions.labels[index]],
            "predicted": class_names[predicted[index]],
            "confidence": float(confidence[index]),
            "loss": float(losses[index]),
        }
        for index in indices
    ]
