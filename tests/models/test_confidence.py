"""Temperature and low-confidence threshold."""

import numpy as np
import pytest

from convsmith.evaluation.calibration import fit_confidence
from convsmith.evaluation.predictions import Predictions
from convsmith.models.confidence import compute_test_metrics


def random_predictions(accuracy: float, size: int = 2000) -> Predictions:
    """Predictions for five classes; the labels of the others are random."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(size, 5)).astype(np.float32) * 3
    margin = np.sort(logits, axis=1)[:, -1] - np.sort(logits, axis=1)[:, -2]
    # The larger the margin, the more often correct.
    right = random.random(size) < np.clip(accuracy + 0.05 * (margin - 2.5), 0.02, 1)
    labels = np.where(right, logits.argmax(1), (logits.argmax(1) + random.integers(1, 5, size)) % 5)
    return Predictions(logits=logits, labels=labels)


def confidences(predictions: Predictions, temperature: float) -> np.ndarray:
    logits = predictions.logits.astype(np.float64)
    exponentials = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    highest: np.ndarray = (exponentials / exponentials.sum(1, keepdims=True)).max(1)
    return highest


@pytest.mark.parametrize("accuracy", [0.3, 0.58, 0.7, 0.9, 0.97, 0.999])
def test_the_threshold_is_the_higher_one_of_two(accuracy: float) -> None:
    predictions = random_predictions(accuracy)
    fit = fit_confidence(predictions, "test")
    confidence, correct = confidences(predictions, fit.temperature), ~predictions.wrong
    # Every possible threshold is tried.
    reliable = [level for level in confidence if correct[confidence >= level].mean() >= 0.95]
    common = np.sort(confidence[correct])[int(np.floor(0.05 * (correct.sum() - 1)))]
    expected = max(min(reliable, default=1.0), common)
    assert fit.unsure_below == pytest.approx(expected, abs=1e-6)
    sure = confidence >= fit.unsure_below - 1e-6
    if fit.accuracy_if_sure is None:
        assert not sure.any()
    else:
        assert fit.accuracy_if_sure == pytest.approx(correct[sure].mean(), abs=2e-3)
        assert fit.accuracy_if_sure >= 0.95
    losses = [
        np.mean(
            [
                np.log(np.exp(row / t).sum()) - row[label] / t
                for row, label in zip(predictions.logits.astype(np.float64), predictions.labels, strict=True)
            ]
        )
        for t in (fit.temperature * 0.98, fit.temperature, fit.temperature * 1.02)
    ]
    assert losses[1] == min(losses) or accuracy < 0.5
    metrics = compute_test_metrics(predictions, tuple("abcde"), fit)
    assert metrics.unsure == pytest.approx(1 - sure.mean(), abs=2e-3)
    if metrics.accuracy_if_sure is not None:
        assert metrics.accuracy_if_sure == pytest.approx(correct[sure].mean(), abs=2e-3)


@pytest.mark.parametrize("signal", [0, 1])
@pytest.mark.parametrize("scale", [1, 10, 100, 1000, 10_000])
def test_a_poor_net_with_large_logits_is_sure_of_few_predictions(scale: float, signal: float) -> None:
    """Their softmax is exactly 1, which no threshold exceeds."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 1000)
    logits = random.standard_normal((1000, 10))
    logits[np.arange(1000), labels] += signal
    predictions = Predictions(logits=(scale * logits).astype(np.float32), labels=labels)
    assert predictions.wrong.mean() > 0.5
    fit = fit_confidence(predictions, "validation")
    sure = confidences(predictions, fit.temperature) >= fit.unsure_below
    assert sure.mean() < 0.02
    assert not predictions.wrong[sure].any()


def test_a_poor_net_is_sure_of_few_predictions() -> None:
    """A net of 58 % accuracy answered 0.52 to 0.48 without a doubt."""
    random = np.random.default_rng(1)
    margins = random.normal(scale=0.5, size=1000)
    right = random.random(1000) < 1 / (1 + np.exp(-np.abs(margins)))
    logits = np.stack([margins, np.zeros(1000)], axis=1).astype(np.float32)
    labels = np.where(right, logits.argmax(1), 1 - logits.argmax(1))
    predictions = Predictions(logits=logits, labels=labels)
    assert 0.55 < right.mean() < 0.62
    fit = fit_confidence(predictions, "test")
    assert fit.unsure_below > 0.7
    assert compute_test_metrics(predictions, ("a", "b"), fit).unsure > 0.9


def test_equal_confidences_are_accepted_together() -> None:
    logits = np.array([[2.0, 0]] * 20 + [[1.0, 0]] * 20, np.float32)
    labels = np.array([0] * 19 + [1] + [0] * 18 + [1] * 2)
    fit = fit_confidence(Predictions(logits=logits, labels=labels), "validation")
    highest = 1 / (1 + np.exp(-2 / fit.temperature))
    assert fit.unsure_below == pytest.approx(highest, abs=1e-6)
    assert (fit.accuracy_if_sure, fit.fitted_on, fit.images) == (0.95, "validation", 40)


def test_the_temperature_is_1_if_every_prediction_is_correct() -> None:
    correct = Predictions(logits=np.eye(3, dtype=np.float32) * 9, labels=np.arange(3))
    assert fit_confidence(correct, "validation").temperature == 1
    assert (
        compute_test_metrics(correct, tuple("abc"), fit_confidence(correct, "test")).unsure_among_wrong
        is None
    )
