"""Calibration and the risk-coverage curve, compared with direct computations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import (
    log_loss,
)

from convsmith.evaluation.calibration import (
    fit_temperature,
    measure_calibration,
    merge_bins,
    reliability_bins,
    risk_coverage_curve,
)
from convsmith.evaluation.predictions import Predictions
from helpers.evaluation import SOURCES, predictions_of, softmax


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_calibration_error_computed_by_a_loop(source: str) -> None:
    predictions = predictions_of(source)
    confidence, correct = softmax(predictions.logits).max(1), predictions.predicted == predictions.labels
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert measure_calibration(predictions).ece == pytest.approx(error)
    assert sum(each.count for each in measure_calibration(predictions).bins) == len(predictions)


def test_the_temperature_of_scaled_logits() -> None:
    """Labels are random_predictions from the softmax of logits that are then multiplied by 2.5."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.standard_normal((20_000, 5))
    shares = softmax(logits.astype(np.float32)).cumsum(1)
    labels = (generator.random((20_000, 1)) > shares).sum(1).clip(0, 4)
    predictions = Predictions(logits=(2.5 * logits).astype(np.float32), labels=labels)
    temperature = fit_temperature(predictions)
    assert temperature == pytest.approx(2.5, rel=0.03)
    by_gradient = minimize(
        lambda t: log_loss(labels, softmax(predictions.logits / t[0])),
        x0=[1.0],
        method="L-BFGS-B",
        bounds=[(0.1, 9)],
    )
    assert temperature == pytest.approx(float(by_gradient.x[0]), rel=1e-2)
    calibration = measure_calibration(predictions)
    assert calibration.ece_at_temperature is not None
    assert calibration.ece_at_temperature < 0.02 < calibration.ece


@given(counts=st.lists(st.integers(0, 60), min_size=15, max_size=15).filter(any), least=st.integers(1, 50))
def test_merged_bins_hold_the_same_predictions(counts: list[int], least: int) -> None:
    generator = np.random.default_rng(0)
    confidence = np.concatenate([(n + generator.random(count)) / 15 for n, count in enumerate(counts)])
    correct = generator.random(len(confidence)) < confidence
    merged = merge_bins(reliability_bins(confidence, correct), least)
    assert sum(each.count for each in merged) == len(confidence)
    assert len(merged) == 1 or all(each.count >= least for each in merged)
    for each in merged:
        inside = (confidence > each.low) & (confidence <= each.high)
        assert each.count == inside.sum()
        assert each.accuracy == pytest.approx(correct[inside].mean())
        assert each.confidence == pytest.approx(confidence[inside].mean())


@pytest.mark.parametrize("scale", [0.005, 0.02, 1.0, 50.0])
def test_small_and_large_logits_have_a_temperature(scale: float) -> None:
    """The oracle: the smallest loss of a fine grid."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    sign = np.where(generator.random(200) < 0.8, 1, -1) * (2 * labels - 1)
    logits = np.stack([0 * sign, sign * generator.uniform(0.2, 1, 200)], axis=1) * scale
    predictions = Predictions(logits=logits.astype(np.float32), labels=labels)
    grid = np.geomspace(1e-3, 1e3, 4001)
    margins = (logits[np.arange(200), labels] - logits[np.arange(200), 1 - labels])[:, None]
    best = grid[np.logaddexp(0, -margins / grid).mean(0).argmin()]
    assert fit_temperature(predictions) == pytest.approx(best, rel=0.01)


def test_no_temperature_without_mistakes() -> None:
    predictions = Predictions(logits=4 * np.eye(3, dtype=np.float32), labels=np.arange(3))
    assert measure_calibration(predictions).temperature is None
    assert measure_calibration(predictions).ece_at_temperature is None


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("source", SOURCES)
def test_risk_coverage_computed_by_a_loop(source: str) -> None:
    predictions = predictions_of(source)
    confidence, wrong = softmax(predictions.logits).max(1), predictions.predicted != predictions.labels
    equal = [confidence == value for value in np.unique(confidence)[::-1]]
    shared = np.concatenate([np.full(each.sum(), wrong[each].mean()) for each in equal])
    risks = shared.cumsum() / np.arange(1, len(predictions) + 1)
    curve = risk_coverage_curve(predictions)
    assert curve.risk == pytest.approx(risks)
    assert curve.area == pytest.approx(np.mean(risks))
    assert curve.risk_at(1.0) == pytest.approx(wrong.mean())
    assert curve.risk_at(0.5) == pytest.approx(risks[math.ceil(len(predictions) / 2) - 1])
    assert curve.best_area <= curve.area


def test_equal_confidences_do_not_depend_on_the_order() -> None:
    logits = np.array([[1, 0]] * 4, dtype=np.float32)
    areas = {
        risk_coverage_curve(Predictions(logits=logits, labels=np.array(labels))).area
        for labels in ([0, 0, 1, 1], [1, 1, 0, 0])
    }
    assert areas == {0.5}
