"""Temperature and low-confidence threshold."""

import numpy as np
import pytest

from convsmith.evaluation.predictions import Predictions
from convsmith.models.confidence import compute_test_metrics, fit_confidence


def test_95_percent_of_the_correct_predictions_reach_the_threshold() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(1000, 5)).astype(np.float32) * 3
    labels = np.where(random.random(1000) < 0.7, logits.argmax(1), random.integers(0, 5, 1000))
    predictions = Predictions(logits=logits, labels=labels)
    fit = fit_confidence(predictions, "test")
    exponentials = np.exp(logits / fit.temperature)
    confidence = (exponentials / exponentials.sum(1, keepdims=True)).max(1)
    right = np.sort(confidence[logits.argmax(1) == labels])
    reached = (right >= fit.unsure_below - 1e-6).mean()
    assert 0.95 <= reached < 0.95 + 2 / len(right)
    losses = [
        np.mean(
            [
                np.log(np.exp(row / t).sum()) - row[label] / t
                for row, label in zip(logits, labels, strict=True)
            ]
        )
        for t in (fit.temperature * 0.98, fit.temperature, fit.temperature * 1.02)
    ]
    assert losses[1] == min(losses)
    metrics = compute_test_metrics(predictions, tuple("abcde"), fit)
    sure = confidence >= fit.unsure_below
    assert metrics.unsure == pytest.approx(1 - sure.mean(), abs=2e-3)
    assert metrics.accuracy_if_sure == pytest.approx((logits.argmax(1) == labels)[sure].mean(), abs=2e-3)


def test_the_temperature_is_1_if_every_prediction_is_correct() -> None:
    correct = Predictions(logits=np.eye(3, dtype=np.float32) * 9, labels=np.arange(3))
    assert fit_confidence(correct, "validation").temperature == 1
    assert (
        compute_test_metrics(correct, tuple("abc"), fit_confidence(correct, "test")).unsure_among_wrong
        is None
    )
