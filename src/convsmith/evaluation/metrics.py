"""Metrics of predictions: accuracy with its interval, metrics of each class, confusion matrix, mistakes.

What is undefined, such as the precision of a class that is never predicted, is None, never 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from convsmith.evaluation.calibration import RiskCoverage, measure_calibration, risk_coverage_curve
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import Calibration, ClassMetrics, ConfusedPair

CONFIDENCE_LEVEL = 0.95
TOP = (1, 2, 3, 5)
NUM_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval of a share, from 0 to 1."""

    low: float
    high: float

    def text(self) -> str:
        """Format the interval in percent.

        >>> Interval(low=0.8225, high=0.8373).text()
        '82.25 to 83.73 %'
        """
        return f"{100 * self.low:.2f} to {100 * self.high:.2f} %"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The metrics of the predictions for one split.

    Attributes:
        correct: Number of correct predictions.
        total: Number of images.
        interval: Of the accuracy, by Wilson's score.
        loss: Mean cross-entropy in nats.
        top_accuracy: For each k, the share of images whose label is among the k most probable classes.
        classes: In the order of the labels.
        confusion: `(num_classes, num_classes)`, rows are labels, columns predictions.
        confused_pairs: The most frequent confusions, at most ten.
    """

    correct: int
    total: int
    interval: Interval
    loss: float
    top_accuracy: dict[int, float]
    classes: tuple[ClassMetrics, ...]
    confusion: Indices
    confused_pairs: tuple[ConfusedPair, ...]
    calibration: Calibration
    risk_coverage: RiskCoverage

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.correct / self.total

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 of the classes; None if the F1 of a class is undefined."""
        scores = [each.f1 for each in self.classes]
        defined = [score for score in scores if score is not None]
        return sum(defined) / len(defined) if len(defined) == len(scores) else None


def compute_metrics(predictions: Predictions, class_names: tuple[str, ...]) -> Metrics:
    """Compute all metrics of the predictions for a split.

    Args:
        predictions: With one logit for each class.
        class_names: In the order of the labels.

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 1.0]], dtype=np.float32)
        >>> predictions = Predictions(logits=logits, labels=np.array([0, 1]))
        >>> metrics = compute_metrics(predictions, ("cat", "dog"))
        >>> metrics.accuracy, metrics.classes[1].precision, metrics.confused_pairs[0].count
        (0.5, None, 1)
    """
    matrix: Indices = confusion_matrix(
        predictions.labels, predictions.predicted, labels=np.arange(len(class_names))
    )
    correct, total = int(matrix.trace()), int(matrix.sum())
    return Metrics(
        correct=correct,
        total=total,
        interval=wilson_interval(correct, total),
        loss=float(predictions.losses.mean()),
        top_accuracy=top_accuracies(predictions),
        classes=class_metrics_of(matrix, class_names),
        confusion=matrix,
        confused_pairs=confused_pairs(matrix, class_names),
        calibration=measure_calibration(predictions),
        risk_coverage=risk_coverage_curve(predictions),
    )


def wilson_interval(correct: int, total: int) -> Interval:
    """Compute the 95 % confidence interval of a share by Wilson's score (Wilson 1927).

    Example:
        >>> wilson_interval(595, 599).text()
        '98.30 to 99.74 %'
    """
    interval = binomtest(correct, total).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return Interval(low=float(interval.low), high=float(interval.high))


def class_metrics_of(matrix: Indices, class_names: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """Count each class in a confusion matrix `(num_classes, num_classes)` whose rows are labels."""
    return tuple(
        ClassMetrics(
            name=name,
            correct=int(matrix[index, index]),
            total=int(matrix[index].sum()),
            predicted=int(matrix[:, index].sum()),
        )
        for index, name in enumerate(class_names)
    )


def top_accuracies(predictions: Predictions) -> dict[int, float]:
    """Compute the top-k accuracy for each k in `TOP` that is below the number of classes."""
    own = predictions.logits[np.arange(len(predictions)), predictions.labels][:, None]
    # Equal logits rank by class, as for `argmax`, so that the top-1 accuracy is the accuracy.
    before = np.arange(predictions.num_classes) < predictions.labels[:, None]
    rank = ((predictions.logits > own) | ((predictions.logits == own) & before)).sum(1)
    return {k: float((rank < k).mean()) for k in TOP if k < predictions.num_classes or k == 1}


def confused_pairs(matrix: Indices, class_names: tuple[str, ...]) -> tuple[ConfusedPair, ...]:
    """Return the most frequent confusions of a confusion matrix, at most ten."""
    confusions = matrix.copy()
    np.fill_diagonal(confusions, 0)
    order = np.argsort(-confusions, axis=None, kind="stable")[:NUM_PAIRS]
    places = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return tuple(
        ConfusedPair(
            true=class_names[true], predicted=class_names[predicted], count=int(confusions[true, predicted])
        )
        for true, predicted in places
        if confusions[true, predicted]
    )


def mistakes(predictions: Predictions) -> Indices:
    """Return the indices of misclassified images, the most confident first."""
    wrong = np.flatnonzero(predictions.wrong)
    order: Indices = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")]
    return order


def highest_losses(predictions: Predictions, count: int) -> Indices:
    """Return the indices of the images with the highest loss; not all need be misclassified."""
    order: Indices = np.argsort(-predictions.losses, kind="stable")[:count]
    return order


def mistakes_of_each_class(predictions: Predictions, count: int) -> Indices:
    """Return the indices of at most `count` misclassified images, with each class represented if possible.

    The most confident mistake of each class is taken first, then the second of each, and so on. The result
    is ordered by confidence.
    """
    wrong = mistakes(predictions)
    labels = predictions.labels[wrong]
    rank = np.zeros(len(wrong), dtype=np.int64)
    for label in np.unique(labels):
        of_class = labels == label
        rank[of_class] = np.arange(of_class.sum())
    selection = np.sort(np.argsort(rank, kind="stable")[:count])
    result: Indices = wrong[selection]
    return result


def normalize_rows(matrix: Indices) -> NDArray[np.float64]:
    """Divide each row of a confusion matrix by its sum; the row of a class without images is `nan`."""
    totals = matrix.sum(1, keepdims=True)
    result: NDArray[np.float64] = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=result, where=totals > 0)
    return result
