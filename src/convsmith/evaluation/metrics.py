"""Metrics of predictions: accuracy with its interval, metrics of each class, confusion matrix, mistakes.

What is undefined, such as the precision of a class that is never predicted, is None, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from convsmith.data.fold import TEST_SET, EvaluationSet
from convsmith.evaluation.calibration import RiskCoverage, measure_calibration, risk_coverage_curve
from convsmith.evaluation.confidence import Confidence
from convsmith.evaluation.imbalance import ClassBalance
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import Calibration, ClassMetrics, ConfusedPair
from convsmith.text import percent, plural
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import SplitMetrics

# The quantile of a 95 % confidence interval.
_QUANTILE = NormalDist().inv_cdf(0.975)
TOP = (1, 2, 3, 5)
# A larger confusion matrix is neither stored nor drawn: a list of pairs is readable, and linear in images.
LARGEST_MATRIX = 100
NUM_PAIRS, NUM_PAIRS_OF_MANY, NUM_WORST = 10, 30, 30


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
        confusion: `(num_classes, num_classes)`, rows are labels, columns predictions; None with more than 100
            classes.
        confused_pairs: The most frequent confusions, at most ten, and 30 with more than 100 classes.
        balance: The images of each class in the training and the test set.
        evaluated: The names of the images that were predicted.
    """

    correct: int
    total: int
    interval: Interval
    loss: float
    top_accuracy: dict[int, float]
    classes: tuple[ClassMetrics, ...]
    confusion: Indices | None
    confused_pairs: tuple[ConfusedPair, ...]
    calibration: Calibration
    risk_coverage: RiskCoverage
    balance: ClassBalance
    evaluated: EvaluationSet = TEST_SET

    @property
    def is_imbalanced(self) -> bool:
        """Whether the data is imbalanced: then what counts each class equally is reported first."""
        return self.balance.is_imbalanced

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean recall of the classes; None if a class has no image."""
        recalls = [each.recall for each in self.classes]
        defined = [recall for recall in recalls if recall is not None]
        return sum(defined) / len(defined) if len(defined) == len(recalls) else None

    @property
    def balanced_interval(self) -> Interval | None:
        """Of the balanced accuracy; None if that is undefined."""
        return None if self.balanced_accuracy is None else mean_recall_interval(self.classes)

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

    def lines(self, train: SplitMetrics, test: SplitMetrics) -> list[str]:
        """Format the metrics as the last lines of a log; of imbalanced data each class comes first."""
        splits = [train.line("Train set"), test.line(self.evaluated.heading)]
        classes = self.class_lines()
        if not self.is_imbalanced:
            return [*splits, "", *classes]
        return [*self.balanced_lines(), *classes, "", *splits]

    def prior_sentence(self) -> str:
        """Say which class frequencies the confidences assume; empty for balanced data."""
        names = [each.name for each in self.classes]
        return self.balance.prior_sentence(names) if self.is_imbalanced else ""

    def balanced_lines(self) -> list[str]:
        """Format the metrics that count each class equally."""
        interval = self.balanced_interval
        of_accuracy = f", 95% interval {interval.text()}" if interval else ""
        return [
            f"Imbalanced data: {self.balance.text()}",
            f"Balanced accuracy: {percent(self.balanced_accuracy)}{of_accuracy}",
            f"Macro F1: {percent(self.macro_f1)}",
        ]

    def class_lines(self) -> list[str]:
        """Format the accuracy of each class as the course does; of the worst 30 of more than 100 classes."""
        listed = [each.line() for each in listed_classes(self)]
        rest = len(self.classes) - len(listed)
        return [*listed, f"(the other {plural(rest, 'class')} are in results.json)"] if rest else listed


def listed_classes(metrics: Metrics) -> Sequence[ClassMetrics]:
    """Return the classes that tables list: all, or of more than 100 those with the lowest recall."""
    if len(metrics.classes) <= LARGEST_MATRIX:
        return metrics.classes
    return worst_classes(metrics.classes, NUM_WORST)


def worst_classes(classes: Sequence[ClassMetrics], count: int) -> list[ClassMetrics]:
    """Return the classes with the lowest recall, the lowest first; those without images are left out.

    Example:
        >>> names = {"cat": 3, "dog": 1, "owl": 2}
        >>> classes = [ClassMetrics(name=name, correct=n, total=4, predicted=n) for name, n in names.items()]
        >>> [each.name for each in worst_classes(classes, 2)]
        ['dog', 'owl']
    """
    with_images = [each for each in classes if each.accuracy is not None]
    return sorted(with_images, key=lambda each: each.accuracy or 0.0)[:count]


def compute_metrics(
    predictions: Predictions,
    class_names: tuple[str, ...],
    confidence: Confidence | None = None,
    *,
    config: TrainConfig | None = None,
    train_counts: Sequence[int] | None = None,
    evaluated: EvaluationSet = TEST_SET,
) -> Metrics:
    """Compute all metrics of the predictions for a split.

    Args:
        predictions: With one logit for each class.
        class_names: In the order of the labels.
        confidence: The temperature of the run, for the calibration.
        config: The `[train]` table of the run, whose weights and sampling say which prior the net assumes.
        train_counts: The training images of each class, if they are known.
        evaluated: The names of the images.

    Example:
        >>> logits = np.array([[2.0, 0.0], [2.0, 1.0]], dtype=np.float32)
        >>> predictions = Predictions(logits=logits, labels=np.array([0, 1]))
        >>> metrics = compute_metrics(predictions, ("cat", "dog"))
        >>> metrics.accuracy, metrics.classes[1].precision, metrics.confused_pairs[0].count
        (0.5, None, 1)
    """
    correct, total = int((~predictions.wrong).sum()), len(predictions)
    classes = class_metrics_of(predictions, class_names)
    return Metrics(
        correct=correct,
        total=total,
        interval=wilson_interval(correct, total),
        loss=float(predictions.losses.mean()),
        top_accuracy=top_accuracies(predictions),
        classes=classes,
        confusion=confusion_matrix(predictions) if predictions.num_classes <= LARGEST_MATRIX else None,
        confused_pairs=confused_pairs(predictions, class_names),
        calibration=measure_calibration(predictions, confidence),
        risk_coverage=risk_coverage_curve(predictions),
        balance=ClassBalance.of(config, train_counts, [each.total for each in classes], evaluated.kind),
        evaluated=evaluated,
    )


def wilson_interval(correct: int, total: int) -> Interval:
    """Compute the 95 % confidence interval of a share by Wilson's score (Wilson 1927).

    Example:
        >>> wilson_interval(595, 599).text()
        '98.30 to 99.74 %'
    """
    low, high = _wilson_bounds(np.array(correct), np.array(total))
    return Interval(low=float(low), high=float(high))


def mean_recall_interval(classes: Sequence[ClassMetrics]) -> Interval:
    """Compute the 95 % confidence interval of the mean recall of classes that all have images.

    From the Wilson intervals of the recalls, by the recovery of their variances: Zou and Donner,
    "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008), 1693-1702.
    The numbers of images of the classes are taken as fixed.

    Example:
        >>> cat = ClassMetrics(name="cat", correct=90, total=100, predicted=91)
        >>> dog = ClassMetrics(name="dog", correct=4, total=5, predicted=14)
        >>> mean_recall_interval([cat]).text() == wilson_interval(90, 100).text()
        True
        >>> mean_recall_interval([cat, dog]).text()
        '63.45 to 93.49 %'
    """
    correct, total = (np.array([getattr(each, name) for each in classes]) for name in ("correct", "total"))
    recall, (low, high) = correct / total, _wilson_bounds(correct, total)
    below, above = (float(np.sqrt(((recall - bound) ** 2).sum())) / len(classes) for bound in (low, high))
    mean = float(recall.mean())
    return Interval(low=mean - below, high=mean + above)


def _wilson_bounds(
    correct: NDArray[np.int64], total: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of Wilson's intervals of shares."""
    share, square = correct / total, _QUANTILE**2 / total
    centre = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    # Without rounding at the ends.
    return np.where(correct == 0, 0.0, centre - half), np.where(correct == total, 1.0, centre + half)


def confusion_matrix(predictions: Predictions) -> Indices:
    """Count the images by label and predicted class: `(num_classes, num_classes)`, rows are labels."""
    count = predictions.num_classes
    cells = predictions.labels * count + predictions.predicted
    matrix: Indices = np.bincount(cells, minlength=count * count).reshape(count, count)
    return matrix


def class_metrics_of(predictions: Predictions, class_names: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """Count the images of each class, the correct ones among them, and the predictions of the class."""
    right = predictions.labels[~predictions.wrong]
    totals, correct, predicted = (
        np.bincount(each, minlength=len(class_names)).tolist()
        for each in (predictions.labels, right, predictions.predicted)
    )
    return tuple(
        ClassMetrics(name=name, correct=correct[index], total=totals[index], predicted=predicted[index])
        for index, name in enumerate(class_names)
    )


def top_accuracies(predictions: Predictions) -> dict[int, float]:
    """Compute the top-k accuracy for each k in `TOP` that is below the number of classes."""
    ranks = []
    for rows in predictions.row_blocks():
        logits, labels = predictions.logits[rows], predictions.labels[rows]
        own = logits[np.arange(len(labels)), labels][:, None]
        # Equal logits rank by class, as for `argmax`, so that the top-1 accuracy is the accuracy.
        before = np.arange(predictions.num_classes) < labels[:, None]
        ranks.append(((logits > own) | ((logits == own) & before)).sum(1))
    rank = np.concatenate(ranks)
    return {k: float((rank < k).mean()) for k in TOP if k < predictions.num_classes or k == 1}


def confused_pairs(predictions: Predictions, class_names: tuple[str, ...]) -> tuple[ConfusedPair, ...]:
    """Return the most frequent confusions; equally frequent ones in the order of their classes."""
    count = predictions.num_classes
    wrong = predictions.wrong
    cells, counts = np.unique(
        predictions.labels[wrong] * count + predictions.predicted[wrong], return_counts=True
    )
    most = NUM_PAIRS if count <= LARGEST_MATRIX else NUM_PAIRS_OF_MANY
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple(
        ConfusedPair(true=class_names[cell // count], predicted=class_names[cell % count], count=int(images))
        for cell, images in zip(cells[order].tolist(), counts[order].tolist(), strict=True)
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
    rank = rank_in_class(predictions.labels[wrong])
    selection = np.sort(np.argsort(rank, kind="stable")[:count])
    result: Indices = wrong[selection]
    return result


def rank_in_class(labels: Indices) -> Indices:
    """Return for each image how many images of its class come before it, `(N,)`.

    Example:
        >>> rank_in_class(np.array([5, 3, 5, 5, 3])).tolist()
        [0, 0, 1, 2, 1]
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    rank: Indices = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered, side="left")
    return rank


def normalize_rows(matrix: Indices) -> NDArray[np.float64]:
    """Divide each row of a confusion matrix by its sum; the row of a class without images is `nan`."""
    totals = matrix.sum(1, keepdims=True)
    result: NDArray[np.float64] = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=result, where=totals > 0)
    return result
