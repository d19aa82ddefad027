"""Out-of-fold predictions: each training image is predicted by a net that was not trained on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convsmith.errors import RunError
from convsmith.evaluation.comparison import spread_of_all
from convsmith.evaluation.metrics import Metrics
from convsmith.evaluation.predictions import EVALUATE_AGAIN, Indices, Predictions
from convsmith.evaluation.results import split_results
from convsmith.evaluation.schema import ClassMetrics, LabelError, Record, SplitResults
from convsmith.text import one_line, percent, plural

_PRINTED = 10


class Spread(Record):
    """A metric over the folds: mean, sample standard deviation, least and largest value."""

    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Return the spread of a metric; None if it is undefined in a fold.

        >>> Spread.of([0.5, 0.7]).mean, Spread.of([0.5, None])
        (0.6, None)
        """
        found = spread_of_all(values)
        if found is None or found.deviation is None:
            return None
        return cls(mean=found.mean, deviation=found.deviation, low=found.low, high=found.high)

    def text(self) -> str:
        """Format the spread in percent.

        >>> Spread.of([0.5, 0.7]).text()
        '60.00 % ± 14.14, from 50.00 to 70.00 %'
        """
        return (
            f"{percent(self.mean)} ± {100 * self.deviation:.2f}, from {100 * self.low:.2f} to "
            f"{percent(self.high)}"
        )


class FoldMetrics(Record):
    """The metrics of the net that was not trained on a fold, on the images of this fold.

    Attributes:
        number: Counts from 1.
        run: The name of the run folder.
        loss: Mean cross-entropy in nats.
        accuracy_95: The 95 % confidence interval of the accuracy, by Wilson's score.
        epochs: Of its training.
        seconds: Of all epochs, training and evaluation.
    """

    number: int
    run: str
    images: int
    correct: int
    accuracy: float
    accuracy_95: tuple[float, float]
    balanced_accuracy: float | None
    macro_f1: float | None
    loss: float
    epochs: int
    seconds: float

    @classmethod
    def of(cls, number: int, run: str, metrics: Metrics, epochs: int, seconds: float) -> "FoldMetrics":
        """Return the metrics of a fold."""
        return cls(
            number=number,
            run=run,
            images=metrics.total,
            correct=metrics.correct,
            accuracy=metrics.accuracy,
            accuracy_95=(metrics.interval.low, metrics.interval.high),
            balanced_accuracy=metrics.balanced_accuracy,
            macro_f1=metrics.macro_f1,
            loss=metrics.loss,
            epochs=epochs,
            seconds=seconds,
        )


class OutOfFoldResults(Record):
    """The metrics of all folds together, and of each.

    Attributes:
        imbalanced: Whether the data is imbalanced.
        accuracy: Over the folds; likewise the two below, None if they are undefined in a fold.
        pooled: Of the predictions of all folds together.
        classes: Likewise, of each class.
        label_errors: The number of labels that are probably wrong; None if they were not searched.
        notes: What limits the meaning of these figures, such as a start that was trained on the images.
    """

    imbalanced: bool
    folds: tuple[FoldMetrics, ...]
    balanced_accuracy: Spread | None
    macro_f1: Spread | None
    accuracy: Spread | None
    pooled: SplitResults
    classes: tuple[ClassMetrics, ...]
    label_errors: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        folds: Sequence[FoldMetrics],
        metrics: Metrics,
        predictions: Predictions,
        class_names: tuple[str, ...],
        *,
        label_errors: int | None,
        notes: tuple[str, ...] = (),
    ) -> "OutOfFoldResults":
        """Build the record."""
        return cls(
            imbalanced=metrics.is_imbalanced,
            folds=tuple(folds),
            accuracy=Spread.of([each.accuracy for each in folds]),
            balanced_accuracy=Spread.of([each.balanced_accuracy for each in folds]),
            macro_f1=Spread.of([each.macro_f1 for each in folds]),
            pooled=split_results(metrics, predictions, class_names, metrics.loss),
            classes=metrics.classes,
            label_errors=label_errors,
            notes=notes,
        )

    def lines(self) -> list[str]:
        """Format the metrics for a terminal; of imbalanced data those that count each class equally first."""
        pooled, ends = self.pooled, self.pooled.balanced_accuracy_95
        interval = f", 95 % interval {100 * ends[0]:.2f} to {percent(ends[1])}" if ends else ""
        balanced = [
            f"Balanced accuracy: {percent(pooled.balanced_accuracy)}{interval}",
            f"Macro F1: {percent(pooled.macro_f1)}",
            *([f"  over the folds: {self.balanced_accuracy.text()}"] if self.balanced_accuracy else []),
        ]
        low, high = pooled.accuracy_95
        plain = [
            (
                f"Accuracy of the out-of-fold predictions: {percent(pooled.accuracy)} "
                f"({pooled.correct:,} of {plural(pooled.total, 'image')}), "
                f"95 % interval {100 * low:.2f} to {percent(high)}"
            ),
            *([f"  over the folds: {self.accuracy.text()}"] if self.accuracy else []),
        ]
        notes = [f"Note: {note}" for note in self.notes]
        return [*(balanced if self.imbalanced else []), *plain, *notes]


class LocatedLabelError(LabelError):
    """A training image whose label is probably wrong.

    Attributes:
        index: Its place in the out-of-fold predictions.
        location: In the source: a file, or a row.
        fold: That it was held out in, from 1.
        probabilities: Of each class, in the order of the classes.
    """

    location: str
    fold: int
    probabilities: tuple[float, ...]


class OutOfFoldLabelErrors(Record):
    """Training images whose label is probably wrong, the most probable errors first.

    Attributes:
        version: Of cleanlab.
        class_names: In the order of the probabilities.
    """

    method: str
    version: str
    class_names: tuple[str, ...]
    images: tuple[LocatedLabelError, ...]

    def lines(self) -> list[str]:
        """Format the images for a terminal, the first ten of them."""
        shown, rest = self.images[:_PRINTED], len(self.images) - _PRINTED
        return [
            f"Likely label errors: {plural(len(self.images), 'training image')}",
            *(
                f"{one_line(each.location)}: label {one_line(each.label)}, predicted "
                f"{one_line(each.predicted)} ({percent(each.confidence)})"
                for each in shown
            ),
            *([f"({plural(rest, 'more image')}; label_errors.csv lists all)"] if rest > 0 else []),
        ]


def pool_predictions(
    parts: Sequence[Predictions], folds: Indices, labels: Indices, ids: NDArray[np.bytes_]
) -> Predictions:
    """Put the predictions of all folds into the order of the images: exactly one for each.

    Features are left out, because those of different nets have different meanings.

    Args:
        parts: Of each fold, for its images in their order.
        folds: The fold of each image, from 0, `(N,)`.
        labels: `(N,)`.
        ids: `(N,)`, from `data.dataset.image_ids`.

    Raises:
        RunError: The predictions of a fold are not those of its images.

    Example:
        >>> logits = [np.full((1, 2), each, np.float32) for each in (0, 1)]
        >>> parts = [Predictions(logits=each, labels=np.array([place])) for place, each in enumerate(logits)]
        >>> ids = np.array([b"a", b"b"])
        >>> pool_predictions(parts, np.array([1, 0]), np.array([1, 0]), ids).logits.tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    count, classes = len(folds), parts[0].num_classes
    logits = np.zeros((count, classes), dtype=np.float32)
    times = np.zeros(count, dtype=np.int64)
    for number, part in enumerate(parts):
        places = np.flatnonzero(folds == number)
        same = (
            part.num_classes == classes
            and np.array_equal(part.labels, labels[places])
            and (part.ids is None or np.array_equal(part.ids, ids[places]))
        )
        if not same:
            raise RunError(
                "the predictions are not of the images of this fold",
                where=f"fold {number + 1} of {len(parts)}",
                fix=EVALUATE_AGAIN,
            )
        logits[places] = part.logits
        times[places] += 1
    if not (times == 1).all():
        raise RunError(
            f"{plural(int((times != 1).sum()), 'image')} without exactly one prediction",
            where="the folds",
            fix="train the folds in another folder",
        )
    return Predictions(logits=logits, labels=labels, ids=ids)
