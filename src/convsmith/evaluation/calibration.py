"""Whether confidence can be believed: reliability, the temperature that would mend it, risk by coverage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.schema import Bin, Calibration

NUM_BINS = 15
# What a temperature is sought between; an optimum at an end is none.
COLDEST, HOTTEST = 0.02, 50.0


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Error among the most confident share of the images, as that share grows.

    Attributes:
        coverage: `(N,)`, from 1/N to 1.
        risk: `(N,)`, the share of wrong ones among the covered; equal confidences count by their mean.
        area: The mean of the risk over all coverages (AURC), lower is better.
        best_area: What the same number of mistakes would give if all came last.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float
    best_area: float

    def risk_at(self, coverage: float) -> float:
        """The risk where a share of the images, more than 0 and at most 1, is covered."""
        place = max(int(np.ceil(coverage * len(self.risk))) - 1, 0)
        return float(self.risk[place])


def calibration(predictions: Predictions) -> Calibration:
    """Work out how far confidence can be believed (Guo et al., arXiv 1706.04599).

    Example:
        >>> sure = Predictions(logits=np.array([[9.0, 0], [9, 0]], np.float32), labels=np.array([0, 1]))
        >>> f"{calibration(sure).ece:.2f}"
        '0.50'
    """
    right = ~predictions.wrong
    bins = reliability(predictions.confidence, right)
    temperature = best_temperature(predictions)
    at_temperature = None
    if temperature is not None:
        logits = predictions.logits.astype(np.float64) / temperature
        confidence = np.exp(log_softmax(logits, axis=1)).max(1)
        at_temperature = expected_error(reliability(confidence, right))
    return Calibration(
        bins=bins,
        ece=expected_error(bins),
        mean_confidence=float(predictions.confidence.mean()),
        temperature=temperature,
        ece_at_temperature=at_temperature,
    )


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Sort predictions into bins of equal width by their confidence, `(N,)` each."""
    edges = np.linspace(0, 1, NUM_BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    bins = []
    for number in range(NUM_BINS):
        inside = place == number
        there = bool(inside.any())
        bins.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                count=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if there else None,
                accuracy=float(right[inside].mean()) if there else None,
            )
        )
    return tuple(bins)


def expected_error(bins: tuple[Bin, ...]) -> float:
    """The expected calibration error of bins, 0 to 1."""
    total = sum(each.count for each in bins)
    gaps = (
        each.count * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    )
    return sum(gaps) / total


def best_temperature(predictions: Predictions) -> float | None:
    """What the logits are to be divided by for the smallest mean cross-entropy; None where none is best."""
    if not predictions.wrong.any():
        # The colder, the better, without end.
        return None
    logits, labels = predictions.logits.astype(np.float64), predictions.labels
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        logs = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-logs[rows, labels].mean())

    ends = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = float(minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-5}).x)
    at_an_end = min(found - ends[0], ends[1] - found) < 1e-2
    return None if at_an_end else float(np.exp(found))


def risk_coverage(predictions: Predictions) -> RiskCoverage:
    """Leave the least confident out, and see what is left (Geifman and El-Yaniv, arXiv 1705.08500)."""
    confidence, wrong = predictions.confidence, predictions.wrong
    order = np.argsort(-confidence, kind="stable")
    _, block = np.unique(-confidence[order], return_inverse=True)
    # Among equal confidences no order is right: each counts as the mean of them.
    shared = np.bincount(block, weights=wrong[order]) / np.bincount(block)
    covered = np.arange(1, len(wrong) + 1)
    risk = np.cumsum(shared[block]) / covered
    best = np.cumsum(np.sort(wrong)) / covered
    return RiskCoverage(
        coverage=covered / len(wrong), risk=risk, area=float(risk.mean()), best_area=float(best.mean())
    )
