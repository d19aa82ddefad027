"""Calibration: reliability, temperature scaling, the threshold of doubt, and the risk-coverage curve."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.schema import Bin, Calibration

NUM_BINS = 15
# The bounds of the temperature. An optimum at the lower one counts as none. At the upper one it is the bound:
# at 1, the large logits of a poor net would give probabilities of exactly 1, above any threshold.
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1000.0
# The share of correct predictions at or above the threshold of doubt, and the accuracy of those above it.
COVERAGE, ACCURACY = 0.95, 0.95
VALIDATION_IMAGES = "the validation images"


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


def measure_calibration(predictions: Predictions, confidence: Confidence | None = None) -> Calibration:
    """Compute the expected calibration error, and that at a temperature (Guo et al., arXiv 1706.04599).

    Args:
        predictions: For the test images.
        confidence: The temperature of the run; it is fitted to the predictions themselves if there is none.

    Example:
        >>> confident = Predictions(logits=np.array([[9.0, 0], [9, 0]], np.float32), labels=np.array([0, 1]))
        >>> f"{measure_calibration(confident).ece:.2f}"
        '0.50'
    """
    correct = ~predictions.wrong
    bins = reliability_bins(predictions.confidence, correct)
    held_out = confidence is not None and confidence.fitted_on == "validation"
    temperature = confidence.temperature if confidence and held_out else fit_temperature(predictions)
    ece_at_temperature = None
    if temperature is not None:
        scaled = predictions.confidence_at(temperature)
        ece_at_temperature = expected_calibration_error(reliability_bins(scaled, correct))
    return Calibration(
        bins=bins,
        ece=expected_calibration_error(bins),
        mean_confidence=float(predictions.confidence.mean()),
        temperature=temperature,
        ece_at_temperature=ece_at_temperature,
        **({"temperature_fitted_on": VALIDATION_IMAGES} if held_out else {}),
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
    """Find the divisor of the logits with the smallest mean cross-entropy, at most 1,000.

    None if the loss falls as the temperature approaches 0.
    """
    if not predictions.wrong.any():
        # The loss falls with the temperature without end.
        return None

    def loss(log_temperature: float) -> float:
        return float(predictions.losses_at(np.exp(log_temperature)).mean())

    low, high = float(np.log(MIN_TEMPERATURE)), float(np.log(MAX_TEMPERATURE))
    from scipy.optimize import minimize_scalar  # slow to import

    best = float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5}).x)
    if best - low < 1e-2:
        return None
    return MAX_TEMPERATURE if high - best < 1e-2 else float(np.exp(best))


def fit_confidence(predictions: Predictions, split: Literal["validation", "test"]) -> Confidence:
    """Fit temperature and threshold to the predictions for a split.

    The temperature minimises the loss (Guo et al., arXiv 1706.04599); it is 1 if there is none. The
    threshold is the higher one of two:

    - the confidence that 95 % of the correct predictions reach. Detectors of out-of-distribution images are
      usually compared at this operating point, with the largest probability as the score (Hendrycks and
      Gimpel, arXiv 1610.02136);
    - the lowest one at which at least 95 % of the predictions at or above it are correct (Geifman and
      El-Yaniv, arXiv 1705.08500); 1 if there is none.

    Example:
        >>> logits = np.array([[3.0, 0], [2, 0], [0, 1], [1, 0]], np.float32)
        >>> confidence = fit_confidence(Predictions(logits=logits, labels=np.array([0, 0, 1, 1])), "test")
        >>> 0.7 < confidence.unsure_below < 0.99, confidence.accuracy_if_sure
        (True, 1.0)
    """
    temperature = fit_temperature(predictions) or 1.0
    correct, confidence = ~predictions.wrong, predictions.confidence_at(temperature)
    # The lower neighbour, so that at least 95 % reach it.
    common = float(np.quantile(confidence[correct], 1 - COVERAGE, method="lower")) if correct.any() else 0.0
    threshold = min(max(common, _reliable_above(confidence, correct)), 1.0)
    sure = confidence >= threshold
    return Confidence(
        temperature=temperature,
        unsure_below=threshold,
        fitted_on=split,
        images=len(predictions),
        accuracy_if_sure=float(correct[sure].mean()) if sure.any() else None,
    )


def _reliable_above(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the lowest confidence from which on 95 % of the predictions are correct; 1 if there is none."""
    order = np.argsort(-confidence, kind="stable")
    descending = confidence[order]
    accuracy = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    # Equal confidences are accepted together.
    last_of_block = np.append(descending[1:] < descending[:-1], True)
    places = np.flatnonzero(last_of_block & (accuracy >= ACCURACY))
    return float(descending[places[-1]]) if len(places) else 1.0


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
