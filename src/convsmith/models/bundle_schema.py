"""The schema of `bundle.json`: closed vocabularies, validated completely when it is read."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from convsmith.data.config import DataConfig
from convsmith.data.images.input_rule import InputRule, ResizePolicy
from convsmith.evaluation.confidence import Confidence
from convsmith.modules.config import ModuleConfig, Outputs, kind_of_model
from convsmith.net.layers.layer import MAX_NUMBER
from convsmith.net.notation import MAX_TEXT
from convsmith.net.settings import NotationConfig

# Far above the images of small nets, so that a malicious file cannot allocate all memory.
MAX_SIDE = 1024
MAX_LABEL = 1000
MAX_RECIPE = 100_000
MAX_NOTES = 10
# Of a share.
_ROUNDING = 1e-9

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Line = Annotated[str, Field(max_length=MAX_LABEL)]
# A sentence that may quote a net.
Sentence = Annotated[str, Field(max_length=MAX_TEXT + MAX_LABEL)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Spec(NotationConfig):
    """The net in the notation, with its settings."""

    net: str = Field(min_length=1, max_length=MAX_TEXT)


class ModuleSpec(ModuleConfig):
    """The net as a PyTorch module.

    Attributes:
        module: A class in `source/` of the bundle, or of an installed package, with its arguments.
        outputs: Their meaning.
        package: The name and version of the installed package; empty for a file.
    """

    outputs: Outputs
    package: Line = ""


AnySpec = Annotated[
    Annotated[Spec, Tag(NotationConfig.TAG)] | Annotated[ModuleSpec, Tag(ModuleConfig.TAG)],
    Discriminator(kind_of_model),
]


class Preprocessing(_Table):
    """The conversion of an image to the net's input: `data.input_rule`, then `(pixels / 255 - mean) / std`.

    Attributes:
        resize_policy: How images of other sizes become the net's.
        background: The colour behind transparent pixels; None, as in bundles of format 1, is the mean colour.
        sizes: Only in bundles of format 1.
    """

    channels: Literal[1, 3]
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)
    mean: tuple[Share, ...]
    std: tuple[Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], ...]
    resize_policy: ResizePolicy = "crop"
    background: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = None
    sizes: Literal["centre-lanczos"] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"expected a mean and a std for each of {self.channels} channels")
        if self.background is not None and len(self.background) != self.channels:
            raise ValueError(f"expected a background for each of {self.channels} channels")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return self.channels, self.height, self.width

    @property
    def rule(self) -> InputRule:
        """The rule that images are read by."""
        return InputRule(
            channels=self.channels,
            height=self.height,
            width=self.width,
            resize_policy=self.resize_policy,
            background=self.background or tuple(round(255 * value) for value in self.mean),
        )


class ClassCount(_Table):
    """Test images of one class, and the correct predictions among them."""

    correct: Count
    total: Count


class TestMetrics(_Table):
    """The metrics of the weights in the bundle on the test set.

    Attributes:
        low: Lower end of the accuracy's 95 % Wilson interval; `high` is the upper end.
        ece: Expected calibration error of the plain softmax, 15 bins; `calibrated_ece` at the temperature.
        unsure: The share of unsure predictions.
        unsure_among_wrong: Their share among the wrong predictions; None if no prediction is wrong.
        accuracy_if_sure: The accuracy of the other predictions; None if there are none.
    """

    correct: Count
    total: Annotated[int, Field(ge=1, le=2**53)]
    low: Share
    high: Share
    loss: float = Field(ge=0, allow_inf_nan=False)
    ece: Share
    calibrated_ece: Share
    unsure: Share
    unsure_among_wrong: Share | None
    accuracy_if_sure: Share | None
    classes: tuple[ClassCount, ...]

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if any(each.correct > each.total for each in self.classes):
            raise ValueError("more images of a class are correct than there are")
        found = sum(each.correct for each in self.classes), sum(each.total for each in self.classes)
        if found != (self.correct, self.total):
            counts = f"{found[0]:,} of {found[1]:,}"
            raise ValueError(f"{counts} correct in all classes, {self.correct:,} of {self.total:,} in all")
        if not self.low <= self.accuracy <= self.high:
            raise ValueError("the accuracy is not in its interval")
        if (self.unsure_among_wrong is None) != (self.correct == self.total):
            raise ValueError("expected a share of unsure predictions where some are wrong")
        if (self.accuracy_if_sure is None) != (self.unsure == 1):
            raise ValueError("expected an accuracy of sure predictions where there are some")
        # The wrong predictions that are sure, counted in two ways.
        of_wrong = (1 - (self.unsure_among_wrong or 0)) * (self.total - self.correct)
        of_sure = (1 - self.unsure) * self.total * (1 - (self.accuracy_if_sure or 0))
        if abs(of_wrong - of_sure) > _ROUNDING * self.total:
            raise ValueError("the shares of unsure predictions contradict the correct predictions")
        return self

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


class Weights(_Table):
    """The number format of the weights, and the correct test predictions in both formats.

    Attributes:
        agreement: The share of test images with the same prediction as in the evaluation of the run.
    """

    format: Literal["fp16", "fp32"]
    correct_fp32: Count
    correct_fp16: Count
    agreement: Share


class WeightsFile(_Table):
    """A file of weights that were trained elsewhere; `entry` is their place in a checkpoint."""

    file: Line
    entry: Line = ""
    sha256: Line


class Origin(_Table):
    """The training of the net, and how to reproduce it.

    Attributes:
        weights: Where the weights come from if they were trained elsewhere; then there are no epochs.
        taught: A sentence about the teacher, then caveats on the accuracy; empty without a teacher.
        notes: Changes during the training that the recipe does not record; of weights that were trained
            elsewhere, what is assumed about them.
    """

    recipe: Line
    seed: Count
    epochs: Count
    seconds: float = Field(ge=0, allow_inf_nan=False)
    data: DataConfig
    data_title: Line
    fingerprint: Line
    train_images: Count
    convsmith: Line
    torch: Line
    processor: Line
    weights: WeightsFile | None = None
    taught: tuple[Sentence, ...] = Field(default=(), max_length=MAX_NOTES)
    notes: tuple[Line, ...] = Field(default=(), max_length=MAX_NOTES)
    recipe_toml: str = Field(max_length=MAX_RECIPE)


class BundleMetadata(_Table):
    """All of `bundle.json`.

    Format 1 has no resize policy and no background. Format 3 has a module, the others a net in the notation.
    """

    format: Literal[1, 2, 3] = 2
    name: Line
    description: Line
    labels: tuple[Line, ...] = Field(min_length=2, max_length=MAX_NUMBER)
    spec: AnySpec
    preprocessing: Preprocessing
    confidence: Confidence
    weights: Weights
    measured: TestMetrics
    origin: Origin

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if (self.format == 3) != isinstance(self.spec, ModuleSpec):
            raise ValueError("expected format 3 for a module, and only for one")
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        measured, weights, confidence = self.measured, self.weights, self.confidence
        if len(measured.classes) != len(self.labels):
            raise ValueError(f"the counts of {len(measured.classes)} classes for {len(self.labels)} labels")
        if len(set(self.labels)) < len(self.labels) or "" in self.labels:
            raise ValueError("two labels are equal, or one is empty")
        correct = weights.correct_fp16 if weights.format == "fp16" else weights.correct_fp32
        if correct != measured.correct or max(weights.correct_fp16, weights.correct_fp32) > measured.total:
            raise ValueError("the correct predictions of the weights are not those of the test set")
        if confidence.fitted_on == "test" and confidence.images != measured.total:
            raise ValueError("the confidence is fitted on another number of test images")
        return self

    @model_validator(mode="after")
    def _complete_format_1(self) -> Self:
        # Its trainings stretched the images if they resized them.
        if self.format == 1 and self.origin.data.resize:
            stretched = self.preprocessing.model_copy(update={"resize_policy": "stretch"})
            return self.model_copy(update={"preprocessing": stretched})
        return self
