"""How a net is trained: the `[train]` table of a recipe."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules import Schedule
from convsmith.training.schedules.constant import Constant
from convsmith.training.tables import Fraction, Share, Table

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


class Progressive(Table):
    """Smaller images first: fewer operations while the net learns what is coarse."""

    start_size: int = Field(ge=4, le=4096, description="pixels a side of the first images")
    until: Share = Field(default=0.5, description="share of the steps that see the smaller images")


class Lookahead(Table):
    """Slow weights that follow those which the optimiser moves, and to which it goes back every `k` steps.

    Zhang, Lucas, Hinton and Ba, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610.
    """

    k: int = Field(default=5, ge=1, le=1_000_000, description="steps of the optimiser until it goes back")
    alpha: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.5, description="share of the way that the slow weights go; 1: all of it, no lookahead"
    )


class Distillation(Table):
    """Learning from what a teacher says of an image beside its label.

    The loss is `(1 - alpha)` times that of the labels plus `alpha * T**2` times the Kullback-Leibler
    divergence of the student's class probabilities from the teacher's, both at temperature T. Hinton,
    Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. The defaults are
    those of Tian, Krishnan and Isola, "Contrastive Representation Distillation", arXiv 1910.10699.
    """

    temperature: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        default=4.0, description="divides the logits of both: above 1, unlikely classes count for more"
    )
    alpha: Share = Field(default=0.9, description="weight of the teacher; the labels have the rest")


class TrainConfig(Table):
    """The `[train]` table of a recipe."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the training set")
    batch_size: int = Field(
        default=128, ge=1, le=1_000_000, description="images a step, the last batch may be smaller"
    )
    microbatch_size: int | None = Field(
        default=None,
        ge=2,
        description="images that go through the net together, each such part of a batch on a core of its "
        "own; batch norm sees one part, gradients are summed; by default the whole batch",
    )
    optimizer: Optimizer = SGD()
    schedule: Schedule = Constant()
    weight_standardization: bool = Field(
        default=False,
        description="learn weights of mean 0 and fixed size, for nets without norm; they end up plain",
    )
    whitening: bool = Field(
        default=False,
        description="the first convolution is set to the whitening filters of training patches, and stays so",
    )
    progressive: Progressive | None = Field(default=None, description="smaller images first")
    ema: Fraction = Field(
        default=0.0,
        description="decay a step of the average of the weights that is evaluated and kept; 0: none",
    )
    lookahead: Lookahead | None = Field(
        default=None,
        description="every k steps go back towards slow weights, which are evaluated and kept where ema is 0",
    )
    label_smoothing: Fraction = Field(default=0.0, description="share of the target spread over all classes")
    teacher: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="a finished run, a bundle, or a net of the zoo, from which this one learns",
    )
    distillation: Distillation | None = Field(
        default=None, description="how much is learned from the teacher, and at which temperature"
    )
    precision: Precision = Field(
        default="auto", description='of the forward pass; "auto": bf16 where it is faster'
    )
    device: Device = Field(default="auto", description='"auto": CUDA before MPS before the CPU')
    compile: bool = Field(
        default=False, description="torch.compile the net's steps, ahead of the first epoch; for GPUs"
    )
    stop_after: int | None = Field(
        default=None, ge=1, description="stop after this many epochs of a schedule planned for all"
    )

    @model_validator(mode="before")
    @classmethod
    def _teacher_brings_its_settings(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("teacher") is not None and table.get("distillation") is None:
            return {**table, "distillation": Distillation()}
        return table

    @model_validator(mode="after")
    def _distillation_has_a_teacher(self) -> Self:
        if self.distillation is not None and self.teacher is None:
            raise ValueError(
                "distillation needs a teacher; name a run or a bundle, train.teacher=runs/digits-1, "
                "or do without: train.distillation=false"
            )
        return self

    @model_validator(mode="after")
    def _stops_within(self) -> Self:
        if self.stop_after is not None and self.stop_after > self.epochs:
            raise ValueError(f"stop_after: found {self.stop_after}, expected at most epochs = {self.epochs}")
        return self

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.microbatch_size is not None and self.batch_size % self.microbatch_size:
            raise ValueError(
                f"microbatch_size: found {self.microbatch_size}, expected a divisor of batch_size = "
                f"{self.batch_size}"
            )
        return self

    @property
    def num_microbatches(self) -> int:
        """How many parts a batch goes through the net in."""
        return self.batch_size // (self.microbatch_size or self.batch_size)

    def image_size(self, epoch: int, step: int, steps_per_epoch: int) -> int | None:
        """Return the height and width of a step's images; None for the original size."""
        if self.progressive is None:
            return None
        done = ((epoch - 1) * steps_per_epoch + step) / (self.epochs * steps_per_epoch)
        return self.progressive.start_size if done < self.progressive.until else None

    @property
    def epochs_run(self) -> int:
        """How many epochs the run goes through: all, unless it is to stop before."""
        return self.stop_after or self.epochs
