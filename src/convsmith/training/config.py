"""The `[train]` table of a recipe."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from convsmith.text import in_line
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules import Schedule
from convsmith.training.schedules.constant import Constant
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.tables import Fraction, Rate, Share, Table

Device = Literal["auto", "cpu", "cuda", "mps"]
# "body", "head", names or patterns of layers, or a number of blocks from the input; see `training.parts`.
_Name = Annotated[str, Field(min_length=1, max_length=1000)]
_Names = Annotated[tuple[_Name, ...], Field(strict=False, min_length=1, max_length=1000)]
Layers = Annotated[int, Field(ge=1, le=10_000)] | _Name | _Names
Precision = Literal["auto", "fp32", "bf16"]
Monitor = Literal["accuracy", "balanced_accuracy", "loss"]


def _checked_class_weights(value: Any) -> Any:
    """Check the weights of the classes by hand: an error names the class, and not the type of a union."""
    if value in ("balanced", None):
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError(
            f'found {value!r}, expected "balanced" or a table of classes; write for example '
            "class_weights = { cat = 2, dog = 1 }"
        )
    for name, weight in value.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight <= _LARGEST_WEIGHT:
            raise ValueError(
                f"{in_line(str(name))}: found {weight!r}, expected a number above 0 and at most "
                f"{_LARGEST_WEIGHT:,}; write for example 2.0"
            )
    return {str(name): float(weight) for name, weight in value.items()}


_LARGEST_WEIGHT = 1_000_000
ClassWeights = Annotated[Literal["balanced"] | dict[str, float], BeforeValidator(_checked_class_weights)]


class Progressive(Table):
    """Progressive resizing: smaller images at first, which take fewer operations."""

    start_size: int = Field(ge=4, le=4096, description="side of the first images in pixels")
    until: Share = Field(default=0.5, description="share of the steps with smaller images")


class Lookahead(Table):
    """Slow weights that move towards those of the net every `k` steps; the net continues from them.

    Zhang, Lucas, Hinton and Ba, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610.
    """

    k: int = Field(default=5, ge=1, le=1_000_000, description="steps between two updates")
    alpha: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.5, description="share of the distance that the slow weights move; 1: no lookahead"
    )


class Distillation(Table):
    """Knowledge distillation from a teacher.

    The loss is `(1 - alpha)` times that of the labels, plus `alpha * T**2` times the Kullback-Leibler
    divergence of the student's class probabilities from the teacher's, both at temperature T. Hinton,
    Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. The defaults are
    those of Tian, Krishnan and Isola, "Contrastive Representation Distillation", arXiv 1910.10699.
    """

    temperature: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        default=4.0,
        description="divides the logits of both; values above 1 give unlikely classes more weight",
    )
    alpha: Share = Field(default=0.9, description="weight of the teacher; that of the labels is 1 - alpha")


class LayerRate(Table):
    """A factor on the learning rate of some layers."""

    layers: Layers = Field(
        examples=["body"],
        description='"body", "head", a layer, a list of layers, or a number of blocks from the input',
    )
    factor: Rate = Field(le=1000, examples=[0.1], description="multiplies the learning rate of these layers")


class EarlyStopping(Table):
    """End a training when the validation split does not improve any more; see `TrainConfig.monitor`."""

    patience: int = Field(default=5, ge=1, le=100_000, description="epochs without an improvement")
    min_delta: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        default=0.0, description="a smaller change of the monitored metric is no improvement"
    )


class Phase(Table):
    """A part of a training before an extension, whose schedule was planned for another number of epochs."""

    planned: int = Field(ge=1, le=100_000, description="epochs that the schedule was planned for")
    epochs: int = Field(ge=0, le=100_000, description="completed epochs at the end of the phase")
    batches: int = Field(default=0, ge=0, description="completed batches of the next epoch at its end")


class TrainConfig(Table):
    """The `[train]` table of a recipe."""

    epochs: int = Field(
        ge=0, le=100_000, description="passes over the training set; 0: the weights were trained elsewhere"
    )
    batch_size: int = Field(
        default=128,
        ge=1,
        le=1_000_000,
        description="images per step; the last batch may be smaller, or larger by one image",
    )
    microbatch_size: int | None = Field(
        default=None,
        ge=2,
        description="images per forward pass; microbatches run on several cores, batch norm sees one, "
        "gradients are summed; by default the batch size",
    )
    optimizer: Optimizer = SGD()
    schedule: Schedule = Constant()
    weight_standardization: bool = Field(
        default=False,
        description="train weights with mean 0 and a fixed norm, for nets without normalization layers",
    )
    whitening: bool = Field(
        default=False,
        description="set the first convolution to whitening filters of training patches, and freeze it",
    )
    progressive: Progressive | None = Field(default=None, description="smaller images at first")
    ema: Fraction = Field(
        default=0.0,
        description="decay per step of the averaged weights, which are evaluated and saved; 0: no average",
    )
    lookahead: Lookahead | None = Field(
        default=None,
        description="slow weights every k steps, which are evaluated and saved if ema is 0",
    )
    label_smoothing: Fraction = Field(
        default=0.0, description="share of each target that is spread over all classes"
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description='weights of the classes in the loss: "balanced", inverse to their numbers of training '
        "images, or a table by name: { cat = 2, dog = 1 }",
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description='images of an epoch: "shuffle", each once, or "balanced", drawn with replacement, '
        "each class equally often",
    )
    clip_gradient_norm: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = Field(
        default=None,
        examples=[1.0],
        description="scale gradients with a larger Euclidean norm down to this norm",
    )
    l1: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        default=0.0,
        description="weight of the L1 penalty, the sum of the absolute weights of convolutions and linear "
        "layers without their biases; 0: no penalty",
    )
    teacher: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="finished run, bundle or zoo name of the teacher for knowledge distillation",
    )
    distillation: Distillation | None = Field(
        default=None, description="weight and temperature of the teacher"
    )
    start_from: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="finished run, bundle, zoo name or file of weights that the training begins with",
    )
    head: Literal["start", "new"] | None = Field(
        default=None,
        description='the last layer with start_from: "start" keeps its weights, "new" draws new ones; by '
        'default "start" if the classes are the same in the same order',
    )
    freeze: Layers | None = Field(
        default=None,
        examples=["body"],
        description='layers that are not trained: "body" (all but the head), a name or pattern, a list of '
        "these, or a number of blocks from the input",
    )
    freeze_epochs: int | None = Field(
        default=None, ge=1, le=100_000, description="number of first epochs that freeze lasts; by default all"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None,
        description="learning rate of each block as a share of that of the next one, from the head down",
    )
    layer_rates: Annotated[tuple[LayerRate, ...], Field(strict=False, max_length=1000)] | None = Field(
        default=None, description='factors on learning rates: [{layers="body", factor=0.1}]'
    )
    precision: Precision = Field(
        default="auto", description='precision of the forward pass; "auto": bf16 where it is faster'
    )
    device: Device = Field(default="auto", description='"auto": CUDA, else MPS, else the CPU')
    compile: bool = Field(default=False, description="use torch.compile, before the first epoch; for GPUs")
    stop_after: int | None = Field(
        default=None,
        ge=1,
        description="number of epochs after which to stop, for a schedule over all of `epochs`",
    )

    early_stopping: EarlyStopping | None = Field(
        default=None, description="end the training when the validation split does not improve any more"
    )
    keep: Literal["last", "best"] | None = Field(
        default=None,
        description='epoch whose weights are kept: "last", or "best" by the validation split; by default '
        '"best" with early stopping, else "last"',
    )
    monitor: Monitor = Field(
        default="accuracy",
        description="metric of the validation split that early stopping and the best epoch go by",
    )
    phases: Annotated[tuple[Phase, ...], Field(strict=False)] | None = Field(
        default=None,
        description="phases before the last one, whose schedule spans `epochs`; written by resume --epochs",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_distillation(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("teacher") is not None and table.get("distillation") is None:
            return {**table, "distillation": Distillation()}
        return table

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        if self.distillation is not None and self.teacher is None:
            raise ValueError(
                "distillation needs a teacher: name a run or a bundle, for example "
                "train.teacher=runs/digits-1, or set train.distillation=false"
            )
        return self

    @model_validator(mode="after")
    def _check_fine_tuning(self) -> Self:
        if self.freeze_epochs is not None and self.freeze is None:
            raise ValueError('freeze_epochs needs layers to freeze: write freeze="body"')
        if self.head is not None and self.start_from is None:
            raise ValueError(
                "head needs weights to start from: name a run or a bundle, for example "
                "train.start_from=runs/digits-1"
            )
        return self

    @model_validator(mode="after")
    def _check_l1(self) -> Self:
        if self.l1 and self.weight_standardization:
            raise ValueError(
                "l1 has no effect on standardised weights, whose norm is fixed: set l1=0 or "
                "weight_standardization=false"
            )
        return self

    @model_validator(mode="after")
    def _check_balance(self) -> Self:
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise ValueError(
                'class_weights = "balanced" and sampling = "balanced" both undo the imbalance, together they '
                "reverse it: set train.class_weights=false or train.sampling=shuffle"
            )
        return self

    @model_validator(mode="after")
    def _check_monitor(self) -> Self:
        if self.monitor != "accuracy" and not (self.keeps_best or self.early_stopping):
            raise ValueError(
                f'monitor = "{self.monitor}" has no effect without early stopping and the best epoch: set '
                "train.keep=best, or train.monitor=accuracy, the default"
            )
        return self

    @model_validator(mode="after")
    def _check_stop_after(self) -> Self:
        if self.stop_after is not None and self.stop_after > self.epochs:
            raise ValueError(f"stop_after: found {self.stop_after}, expected at most epochs = {self.epochs}")
        return self

    @model_validator(mode="after")
    def _check_microbatch_size(self) -> Self:
        if self.microbatch_size is not None and self.batch_size % self.microbatch_size:
            raise ValueError(
                f"microbatch_size: found {self.microbatch_size}, expected a divisor of batch_size = "
                f"{self.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _check_phases(self) -> Self:
        ends = [(phase.epochs, phase.batches) for phase in self.phases or ()]
        if ends != sorted(ends):
            raise ValueError("phases: expected in the order of the training")
        return self

    @property
    def num_microbatches(self) -> int:
        """Number of microbatches of a full batch."""
        return self.batch_size // (self.microbatch_size or self.batch_size)

    @property
    def is_independent_of_threads(self) -> bool:
        """Whether the weights do not depend on the number of threads and processes."""
        return self.num_microbatches > 1 and not self.compile

    def image_size(self, epoch: int, step: int, steps_per_epoch: int) -> int | None:
        """Return the height and width of a step's images; None for the original size."""
        if self.progressive is None:
            return None
        planned = self.planned_epochs(epoch, step)
        done = ((epoch - 1) * steps_per_epoch + step) / (planned * steps_per_epoch)
        return self.progressive.start_size if done < self.progressive.until else None

    def planned_epochs(self, epoch: int, step: int) -> int:
        """Return the number of epochs that the schedule is planned for at a step of an epoch.

        Example:
            >>> config = TrainConfig(epochs=60, phases=[{"planned": 30, "epochs": 30}])
            >>> config.planned_epochs(30, 18), config.planned_epochs(31, 0)
            (30, 60)
        """
        done = (epoch - 1, step)
        phases = (phase for phase in self.phases or () if done < (phase.epochs, phase.batches))
        return next((phase.planned for phase in phases), self.epochs)

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best epoch are kept, not those of the last."""
        return self.keep == "best" or (self.keep is None and self.early_stopping is not None)

    @property
    def monitors(self) -> tuple[str, ...]:
        """What goes by a validation split, each with its verb."""
        plateau = isinstance(self.schedule, Plateau) and self.schedule.monitor == "validation"
        uses = {
            "the plateau schedule monitors": plateau,
            "early stopping monitors": self.early_stopping is not None,
            'keep = "best" selects an epoch by': self.keep == "best",
        }
        return tuple(name for name, is_used in uses.items() if is_used)

    @property
    def epochs_run(self) -> int:
        """Number of epochs to train: `stop_after` if it is set, else `epochs`."""
        return self.stop_after or self.epochs
