"""The records of an evaluation, as results.json and the files of further analyses hold them.

Shares, accuracies and confidences are from 0 to 1. What is undefined, such as the precision of a class that
is never predicted, is None.
"""

import math
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    computed_field,
    model_serializer,
    model_validator,
)

from convsmith.text import one_line, percent, plural
from convsmith.training.metrics import SplitMetrics

# Rows of an analysis that a terminal shows.
_PRINTED = 10


class Record(BaseModel):
    """A record of a JSON file. Fields that other versions of convsmith wrote are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ClassMetrics(Record):
    """The counts of one class, and its recall, precision and F1.

    Attributes:
        correct: Images of the class that are predicted as such.
        total: Images of the class.
        predicted: Images of any class that are predicted as this one.
    """

    name: str
    correct: int
    total: int
    predicted: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accuracy(self) -> float | None:
        """The recall; None if the split has no image of the class."""
        return self.correct / self.total if self.total else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def precision(self) -> float | None:
        """None if the class is never predicted."""
        return self.correct / self.predicted if self.predicted else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def recall(self) -> float | None:
        """The accuracy of a class, under its other name."""
        return self.accuracy

    @computed_field  # type: ignore[prop-decorator]
    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None if either is undefined."""
        if self.accuracy is None or self.precision is None:
            return None
        return 2 * self.correct / (self.total + self.predicted)

    def line(self) -> str:
        """Format the accuracy as the course does.

        >>> ClassMetrics(name="cat", correct=703, total=1000, predicted=950).line()
        'Accuracy of cat : 70.30 % (703/1000)'
        """
        share = "n/a" if self.accuracy is None else f"{self.accuracy:.2%}".replace("%", " %")
        return f"Accuracy of {one_line(self.name)} : {share} ({self.correct}/{self.total})"


class ConfusedPair(Record):
    """How many images of one class are predicted as another; both by name."""

    true: str
    predicted: str
    count: int


class Bin(Record):
    """Predictions with a confidence in `(low, high]`; the means are None for an empty bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(Record):
    """How well confidence matches accuracy.

    Attributes:
        ece: Expected calibration error: the gaps between confidence and accuracy of the bins, weighted by
            their counts.
        mean_confidence: Over all images; above the accuracy it means overconfidence.
        temperature: The divisor of the logits with the smallest loss, at most 1,000. None if the loss falls
            as the temperature approaches 0, as when every prediction is correct.
        ece_at_temperature: The error that remains at this temperature; None with the temperature.
        temperature_fitted_on: "the validation images", or "these predictions": the same that it is evaluated
            on, so that it describes them and does not estimate the error on new images.
        prior: The class frequencies that the confidences assume, in sentences; empty for balanced data.
        bins: 15 of equal width.
    """

    ece: float
    mean_confidence: float
    temperature: float | None
    ece_at_temperature: float | None
    temperature_fitted_on: str = "these predictions"
    prior: str = ""
    bins: tuple[Bin, ...]


class RiskCoverageSummary(Record):
    """The area under the risk-coverage curve, the smallest possible one, and some points of the curve."""

    area: float
    best_area: float
    risk_at_coverage: dict[str, float]


class PredictedImage(Record):
    """The prediction for one test image.

    Attributes:
        index: Its place in the split.
        id: 16 hexadecimal digits of its pixels; None in runs of older versions.
        loss: Cross-entropy in nats.
    """

    index: int
    id: str | None
    label: str
    predicted: str
    confidence: float
    loss: float


class SplitResults(Record):
    """The metrics of a split.

    Attributes:
        balanced_accuracy: The mean recall of the classes; None if a class has no image, and in runs of older
            versions.
        balanced_accuracy_95: The 95 % confidence interval of the balanced accuracy; None likewise.
        accuracy_95: The 95 % confidence interval of the accuracy, by Wilson's score.
        top_accuracy: By k, as text.
        calibration: None in runs of older versions.
        confusion: Rows are labels, columns predictions; None with more than 100 classes.
    """

    loss: float
    correct: NonNegativeInt
    total: PositiveInt
    accuracy: float
    accuracy_95: tuple[float, float]
    balanced_accuracy: float | None = None
    balanced_accuracy_95: tuple[float, float] | None = None
    macro_f1: float | None
    top_accuracy: dict[str, float]
    most_confused: tuple[ConfusedPair, ...]
    calibration: Calibration | None = None
    risk_coverage: RiskCoverageSummary | None = None
    most_confident_mistakes: tuple[PredictedImage, ...]
    highest_losses: tuple[PredictedImage, ...]
    confusion: tuple[tuple[int, ...], ...] | None


class PredictionCheck(Record):
    """A comparison of `predict` with the evaluation, on some files of the test set.

    Attributes:
        files: Their number.
        missing: Files whose pixels are not in the test set, as `predict` reads them.
        largest_difference: Between their logits and those of the evaluation; None without files.
        agrees: Whether nothing is missing and the difference is that of rounding.
    """

    files: NonNegativeInt
    missing: NonNegativeInt
    largest_difference: float | None
    agrees: bool

    def line(self) -> str:
        """Format the result as a line of the log.

        >>> PredictionCheck(files=4, missing=0, largest_difference=0.0, agrees=True).line()
        'Predict: the logits of the evaluation for 4 test files, largest difference 0'
        """
        if self.agrees:
            difference = f"largest difference {self.largest_difference:.3g}"
            return f"Predict: the logits of the evaluation for {self.files} test files, {difference}"
        found = f"largest difference {self.largest_difference:.3g}, " if self.files else ""
        return (
            f"Warning: predict does not give the logits of the evaluation: {self.files} test files, {found}"
            f"{self.missing} with other pixels. Its answers differ from the test accuracy of this run"
        )


class Results(Record):
    """The evaluation of the weights that were kept; `train` is measured on the plain images.

    Attributes:
        imbalanced: Whether the data is imbalanced; then each class and its means come first in the file.
        prediction_check: None for data sets of the hub, and in runs of older versions.
    """

    imbalanced: bool = False
    train: SplitMetrics
    test: SplitResults
    classes: tuple[ClassMetrics, ...]
    prediction_check: PredictionCheck | None = None

    @model_serializer(mode="wrap")
    def _classes_first(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = serialize(self)
        if self.imbalanced:
            test, first = table["test"], ("balanced_accuracy", "macro_f1", "balanced_accuracy_95")
            table["test"] = {name: test[name] for name in (*first, *test)}
            table = {name: table[name] for name in ("imbalanced", "test", "classes", *table)}
        return table

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        found = sum(each.correct for each in self.classes), sum(each.total for each in self.classes)
        test = self.test
        if found != (test.correct, test.total) or not math.isclose(
            test.accuracy, test.correct / test.total, abs_tol=1e-6
        ):
            raise ValueError("the counts of the classes, the accuracy and the counts of the test set differ")
        return self


class CorruptedAccuracy(Record):
    """Accuracy, its 95 % confidence interval by Wilson's score, and mean loss in nats."""

    accuracy: float
    accuracy_95: tuple[float, float]
    loss: float


class Robustness(Record):
    """Accuracy on corrupted test images.

    Attributes:
        images: Their number.
        clean: On the images without corruption.
        corruptions: By the name of the corruption, one entry for each strength from 1 to 5.
        mean_accuracy: Over all corruptions and strengths.
    """

    images: int
    clean: CorruptedAccuracy
    corruptions: dict[str, tuple[CorruptedAccuracy, ...]]
    mean_accuracy: float

    def lines(self, kind: str = "test") -> list[str]:
        """Format the accuracies for a terminal, a line for each corruption; `kind` is that of the images."""
        width = max(map(len, self.corruptions), default=0)
        first = (
            f"Robustness: {percent(self.mean_accuracy)} on average, {percent(self.clean.accuracy)} without "
            f"corruption; {plural(self.images, f'{kind} image')}"
        )
        return [
            first,
            *(
                f"{name:<{width}}  {'  '.join(percent(level.accuracy, 1) for level in levels)}"
                for name, levels in self.corruptions.items()
            ),
        ]


class DuplicatePair(Record):
    """A test image and the training image that it nearly equals, by index.

    Attributes:
        difference: Root mean square of the differences of pixels, in levels of 0 to 255.
    """

    test: int
    train: int
    difference: float
    same_label: bool


class Duplicates(Record):
    """Test images that the training set contains too, or nearly so.

    Attributes:
        largest_difference: The threshold, in levels of 0 to 255.
        count: The number of pairs, of which `pairs` has the first.
        other_label: How many pairs have different labels.
    """

    largest_difference: float
    count: int
    other_label: int
    pairs: tuple[DuplicatePair, ...]

    def lines(self, kind: str = "test") -> list[str]:
        """Format the pairs for a terminal, the first ten of them; `kind` is that of the images."""
        shown = self.pairs[:_PRINTED]
        first = (
            f"Near-duplicates: {plural(self.count, f'{kind} image')} within {self.largest_difference:g} of "
            f"255 levels of a training image, {self.other_label:,} with another label"
        )
        return [
            first,
            *(
                f"{kind} image {each.test}, training image {each.train}: {each.difference:.1f} levels, "
                f"{'the same label' if each.same_label else 'another label'}"
                for each in shown
            ),
            *_rest(self.count - len(shown), "pair", "duplicates.json"),
        ]


class LabelError(Record):
    """An image whose label is probably wrong."""

    index: int
    label: str
    predicted: str
    confidence: float


class LabelErrors(Record):
    """Images that a net was evaluated on, whose label is probably wrong.

    Attributes:
        version: Of cleanlab.
        count: The number of images, of which `images` has the most probable errors.
    """

    method: str
    version: str
    count: int
    images: tuple[LabelError, ...]

    def lines(self, kind: str = "test") -> list[str]:
        """Format the images for a terminal, the first ten of them; `kind` is that of the images."""
        shown = self.images[:_PRINTED]
        return [
            f"Likely label errors: {plural(self.count, f'{kind} image')}",
            *(
                f"{kind} image {each.index}: label {one_line(each.label)}, "
                f"predicted {one_line(each.predicted)} ({percent(each.confidence)})"
                for each in shown
            ),
            *_rest(self.count - len(shown), "image", "label_errors.json"),
        ]


def _rest(count: int, noun: str, file: str) -> list[str]:
    return [f"({plural(count, f'more {noun}')}; {file} lists the first ones)"] if count else []
