"""From predictions to facts: accuracy with its uncertainty, every class, what is confused, which are wrong.

What is not defined, such as the precision of a class that is never predicted, is None, never 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from convsmith.evaluation.calibration import RiskCoverage, calibration, risk_coverage
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
        """As percentages.

        >>> Interval(low=0.8225, high=0.8373).text()
        '82.25 to 83.73 %'
        """
        return f"{100 * self.low:.2f} to {100 * self.high:.2f} %"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All that follows from the predictions of one split.

    Attributes:
        interval: Of the accuracy, by Wilson's score.
        loss: Mean cross-entropy in nats.
        top: For each k, the share of images whose label is among the k likeliest classes.
        confusion: `(num_classes, num_classes)`, rows are labels, columns predictions.
        pairs: The most confused, most frequent first.
    """

    correct: int
    total: int
    interval: Interval
    loss: float
    top: dict[int, float]
    classes: tuple[ClassMetrics, ...]
    confusion: Indices
    pairs: tuple[ConfusedPair, ...]
    calibration: Calibration
    risk_coverage: RiskCoverage

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def macro_f1(self) -> float | None:
        """The mean of the classes' F1; None where one of them is."""
        scores = [each.f1 for each in self.classes]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if len(known) == len(scores) else None


def compute_metrics(predictions: Predictions, class_names: tuple[str, ...]) -> Metrics:
    """Work out all facts of a split's predictions.

    Args:
        predictions: With as many logits as there are names.
        class_names: In the order of the labels.

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 1.0]], dtype=np.float32)
        >>> facts = compute_metrics(Predictions(logits=logits, labels=np.array([0, 1])), ("cat", "dog"))
        >>> facts.accuracy, facts.classes[1].precision, facts.pairs[0].count
        (0.5, None, 1)
    """
    matrix: Indices = confusion_matrix(
        predictions.labels, predictions.predicted, labels=np.arange(len(class_names))
    )
    correct, total = int(matrix.trace()), int(matrix.sum())
    return Metrics(
        correct=correct,
        total=total,
        interval=wilson(correct, total),
        loss=float(predictions.losses.mean()),
        top=top_accuracies(predictions),
        classes=classes_of(matrix, class_names),
        confusion=matrix,
        pairs=confused_pairs(matrix, class_names),
        calibration=calibration(predictions),
        risk_coverage=risk_coverage(predictions),
    )


def wilson(correct: int, total: int) -> Interval:
    """The 95 % interval of a share, by Wilson's score (1927).

    Example:
        >>> wilson(595, 599).text()
        '98.30 to 99.74 %'
    """
    found = binomtest(correct, total).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def classes_of(matrix: Indices, class_names: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """Each class by a confusion matrix `(num_classes, num_classes)`, rows are labels."""
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
    """The share of images whose label is among the k likeliest classes, for each k below their number."""
    own = predictions.logits[np.arange(len(predictions)), predictions.labels][:, None]
    # Equal logits rank as `argmax` has them, the lower class first, so that the first is the accuracy.
    before = np.arange(predictions.num_classes) < predictions.labels[:, None]
    rank = ((predictions.logits > own) | ((predictions.logits == own) & before)).sum(1)
    return {k: float((rank < k).mean()) for k in TOP if k < predictions.num_classes or k == 1}


def confused_pairs(matrix: Indices, class_names: tuple[str, ...]) -> tuple[ConfusedPair, ...]:
    """The most frequent mistakes by a confusion matrix, at most ten."""
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:NUM_PAIRS]
    places = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return tuple(
        ConfusedPair(
            true=class_names[true], predicted=class_names[predicted], count=int(mistakes[true, predicted])
        )
        for true, predicted in places
        if mistakes[true, predicted]
    )


def mistakes(predictions: Predictions) -> Indices:
    """Indices of the wrong predictions, the most confident first."""
    wrong = np.flatnonzero(predictions.wrong)
    order: Indices = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")]
    return order


def highest_losses(predictions: Predictions, count: int) -> Indices:
    """Indices of the images with the highest loss, right ones among them where few are wrong."""
    order: Indices = np.argsort(-predictions.losses, kind="stable")[:count]
    return order


def mistakes_of_each_class(predictions: Predictions, count: int) -> Indices:
    """At most `count` wrong predictions: the most confident of each class, then the next of each, and so on.

    They are ordered by confidence; every class that has mistakes is among them where `count` allows.
    """
    wrong = mistakes(predictions)
    labels = predictions.labels[wrong]
    rank = np.zeros(len(wrong), dtype=np.int64)
    for label in np.unique(labels):
        of_class = labels == label
        rank[of_class] = np.arange(of_class.sum())
    chosen = np.sort(np.argsort(rank, kind="stable")[:count])
    result: Indices = wrong[chosen]
    return result


def shares(matrix: Indices) -> NDArray[np.float64]:
    """A confusion matrix with each row as shares of its class, `nan` where the split has none of it."""
    totals = matrix.sum(1, keepdims=True)
    result: NDArray[np.float64] = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=result, where=totals > 0)
    return result
