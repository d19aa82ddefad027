"""What a bundle says of itself, `bundle.json`: a closed vocabulary, checked in full when it is read."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convsmith.data.config import DataConfig
from convsmith.net.layers.layer import MAX_NUMBER
from convsmith.net.notation import MAX_TEXT
from convsmith.net.settings import NetSettings

# Far above any image that a small net is for; a hostile file may not ask for all the memory there is.
MAX_SIDE = 1024
MAX_LABEL = 1000
MAX_RECIPE = 100_000

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Line = Annotated[str, Field(max_length=MAX_LABEL)]
# A sentence that may hold a net.
Told = Annotated[str, Field(max_length=MAX_TEXT + MAX_LABEL)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Spec(NetSettings):
    """The net: in the notation, with its settings."""

    net: str = Field(min_length=1, max_length=MAX_TEXT)


class Preprocessing(_Table):
    """From an image to the net's input: `(pixels / 255 - mean) / std` of `height` x `width` pixels.

    `sizes` names the rule for images of other sizes; there is one, which `ship.images` holds.
    """

    channels: Literal[1, 3]
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)
    mean: tuple[Share, ...]
    std: tuple[Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], ...]
    sizes: Literal["centre-lanczos"] = "centre-lanczos"

    @model_validator(mode="after")
    def _one_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"expected a mean and a std for each of {self.channels} channels")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return self.channels, self.height, self.width


class Confidence(_Table):
    """How logits become confidence, and which confidence is too low.

    Attributes:
        temperature: What the logits are divided by before the softmax.
        unsure_below: An answer with a lower confidence is unsure: 95 % of the right answers were surer.
        fitted_on: The images that both were fitted on; how many there were.
    """

    temperature: float = Field(gt=0, le=1000, allow_inf_nan=False)
    unsure_below: Share
    fitted_on: Literal["validation", "test"]
    images: Count


class ClassCount(_Table):
    """Test images of one class, and how many of them are right."""

    correct: Count
    total: Count


class Measured(_Table):
    """What the shipped weights give on the test images.

    Attributes:
        low: Of the accuracy's 95 % interval, by Wilson's score; `high` likewise.
        ece: Expected calibration error of the plain softmax, 15 bins; `calibrated_ece` at the temperature.
        unsure: The share of the test images whose answer is unsure.
        unsure_among_wrong: The share of the wrong answers that are; None where none is wrong.
        accuracy_if_sure: Of the answers that are not; None where there are none.
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

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


class Weights(_Table):
    """Which numbers the weights are kept as, and what that was decided by: right answers of the test images.

    Attributes:
        agreement: The share of the test images that get the class that the run's own evaluation gave them.
    """

    format: Literal["fp16", "fp32"]
    correct_fp32: Count
    correct_fp16: Count
    agreement: Share


class Origin(_Table):
    """Where the net comes from, and how to repeat it.

    Attributes:
        taught: Who taught it, and what a reader of its accuracy must know of that; empty where nobody did.
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
    taught: tuple[Told, ...] = Field(default=(), max_length=10)
    recipe_toml: str = Field(max_length=MAX_RECIPE)


class BundleMetadata(_Table):
    """All of `bundle.json`."""

    format: Literal[1] = 1
    name: Line
    description: Line
    labels: tuple[Line, ...] = Field(min_length=2, max_length=MAX_NUMBER)
    spec: Spec
    preprocessing: Preprocessing
    confidence: Confidence
    weights: Weights
    measured: Measured
    origin: Origin
