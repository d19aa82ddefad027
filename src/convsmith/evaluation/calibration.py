"""Calibration: reliability, temperature scaling, and the risk-coverage curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.schema import Bin, Calibration

NUM_BINS = 15
# The bounds of the temperature; an optimum at a bound counts as none.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """The error among the most confident share of the images, as a function of that share.

    Attributes:
        coverage: `(N,)`, from 1/N to 1.
        risk: `(N,)`, the share of errors among the covered images; equal confidences count by their mean.
        area: The mean of the risk over all coverages (AURC); lower is better.
        best_area: The area for the same number of errors if these were the least confident predictions.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float
    best_area: float

    def risk_at(self, coverage: float) -> float:
        """Return the risk at a coverage above 0 and up to 1."""
        place = max(int(np.ceil(coverage * len(self.risk))) - 1, 0)
        return float(self.risk[place])


def measure_calibration(predictions: Predictions) -> Calibration:
    """Compute the expected calibration error, and fit a temperature (Guo et al., arXiv 1706.04599).

    Example:
        >>> confident = Predictions(logits=np.array([[9.0, 0], [9, 0]], np.float32), labels=np.array([0, 1]))
        >>> f"{measure_calibration(confident).ece:.2f}"
        '0.50'
    """
    correct = ~predictions.wrong
    bins = reliability_bins(predictions.confidence, correct)
    temperature = fit_temperature(predictions)
    ece_at_temperature = None
    if temperature is not None:
        confidence = predictions.confidence_at(temperature)
        ece_at_temperature = expected_calibration_error(reliability_bins(confidence, correct))
    return Calibration(
        bins=bins,
        ece=expected_calibration_error(bins),
        mean_confidence=float(predictions.confidence.mean()),
        temperature=temperature,
        ece_at_temperature=ece_at_temperature,
    )


def reliability_bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Group predictions into 15 bins of equal width by their confidence.

    Args:
        confidence: `(N,)`, from 0 to 1.
        correct: `(N,)`, whether each prediction is correct.
    """
    edges = np.linspace(0, 1, NUM_BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    bins = []
    for number in range(NUM_BINS):
        inside = place == number
        occupied = bool(inside.any())
        bins.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                count=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if occupied else None,
                accuracy=float(correct[inside].mean()) if occupied else None,
            )
        )
    return tuple(bins)


def merge_bins(bins: tuple[Bin, ...], least: int) -> tuple[Bin, ...]:
    """Merge neighbouring bins until each has at least `least` predictions, or there is only one.

    Example:
        >>> low = Bin(low=0.0, high=0.5, count=1, confidence=0.4, accuracy=0.0)
        >>> high = Bin(low=0.5, high=1.0, count=3, confidence=0.8, accuracy=1.0)
        >>> [(each.low, each.high, each.count, each.accuracy) for each in merge_bins((low, high), 2)]
        [(0.0, 1.0, 4, 0.75)]
    """
    merged: list[Bin] = []
    # From the highest confidence down: most predictions are there, and the lowest are the few.
    for each in sorted((each for each in bins if each.count), key=lambda each: -each.low):
        if merged and merged[-1].count < least:
            merged[-1] = _merged(each, merged[-1])
        else:
            merged.append(each)
    if len(merged) > 1 and merged[-1].count < least:
        merged[-2:] = [_merged(merged[-1], merged[-2])]
    return tuple(reversed(merged))


def _merged(low: Bin, high: Bin) -> Bin:
    count = low.count + high.count

    def mean(name: str) -> float:
        return sum(each.count * (getattr(each, name) or 0.0) for each in (low, high)) / count

    return Bin(
        low=low.low, high=high.high, count=count, confidence=mean("confidence"), accuracy=mean("accuracy")
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Average the gaps between confidence and accuracy, weighted by the counts of the bins; from 0 to 1."""
    total = sum(each.count for each in bins)
    gaps = (
        each.count * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    )
    return sum(gaps) / total


def fit_temperature(predictions: Predictions) -> float | None:
    """Find the divisor of the logits with the smallest mean cross-entropy; None if no finite one is best."""
    if not predictions.wrong.any():
        # The loss falls with the temperature without end.
        return None

    def loss(log_temperature: float) -> float:
        return float(predictions.losses_at(np.exp(log_temperature)).mean())

    low, high = float(np.log(MIN_TEMPERATURE)), float(np.log(MAX_TEMPERATURE))
    best = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5}).x)
    at_a_bound = min(best - low, high - best) < 1e-2
    return None if at_a_bound else float(np.exp(best))


def risk_coverage_curve(predictions: Predictions) -> RiskCoverage:
    """Compute the error by the share of images that is covered (Geifman and El-Yaniv, arXiv 1705.08500)."""
    confidence, wrong = predictions.confidence, predictions.wrong
    order = np.argsort(-confidence, kind="stable")
    _, block = np.unique(-confidence[order], return_inverse=True)
    # Equal confidences have no order: each counts as the mean of its block.
    shared = np.bincount(block, weights=wrong[order]) / np.bincount(block)
    covered = np.arange(1, len(wrong) + 1)
    risk = np.cumsum(shared[block]) / covered
    best = np.cumsum(np.sort(wrong)) / covered
    return RiskCoverage(
        coverage=covered / len(wrong), risk=risk, area=float(risk.mean()), best_area=float(best.mean())
    )
