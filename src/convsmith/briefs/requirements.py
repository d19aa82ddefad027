"""What a brief requires of one net and its training."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from convsmith.briefs.augmentations import AugmentationChoice
from convsmith.briefs.bounds import PositiveAmount, Share, SwitchOrQuantity
from convsmith.briefs.kind_rules import KindRule
from convsmith.briefs.skeleton import parse_skeleton
from convsmith.briefs.structure import LayerKind, NormKind
from convsmith.briefs.training_tables import OptimizerRule, ScheduleRule

FileFormat = Literal["fp32", "fp16", "int8"]


def _skeleton(text: str) -> str:
    parse_skeleton(text)
    return text


class BlockPattern(BaseModel):
    """The pattern of the blocks of convolutions before the output, as in the course: C1 C2 C3 C4 O."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    count: int = Field(ge=1, description="blocks with convolutions before the output")
    convolutions: int | None = Field(
        default=None, ge=1, description="convolutions in each block; a separable one counts once"
    )
    shrink: Literal["strided-or-dilated", "any"] = Field(
        default="any",
        description="what the last convolution of each block but the last must be",
    )


class TrainAccuracy(BaseModel):
    """The training accuracy after an epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epoch: int = Field(default=1, ge=1, description="counts from 1")
    min: float = Field(gt=0, le=1, description="minimum training accuracy of that epoch, from 0 to 1")


class Requirements(BaseModel):
    """Requirements on one net and its training. Fields that are left out are not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_parameters: int | None = Field(default=None, ge=1, description="maximum number of parameters")
    min_parameters: int | None = Field(default=None, ge=1, description="minimum number of parameters")
    parameters_count: Literal["all", "trainable"] = Field(
        default="all", description="which parameters these limits mean: frozen ones too, or not"
    )
    max_macs: int | None = Field(
        default=None, ge=1, description="maximum number of multiply-accumulates for one image"
    )
    max_activation_bytes: int | None = Field(
        default=None, ge=1, description="maximum peak of the activation memory for one image, in fp32"
    )
    max_file_bytes: int | None = Field(default=None, ge=1, description="maximum size of the weights")
    file_format: FileFormat = Field(default="fp32", description="format of the weights for max_file_bytes")
    min_receptive_field: int | None = Field(
        default=None, ge=1, description="pixels a side, before global pooling or the fully connected layers"
    )
    full_coverage: bool = Field(
        default=False, description="every pixel must be in the receptive field of an output"
    )
    min_map_size: int | None = Field(
        default=None, ge=1, description="pixels a side of a map that a class-activation map can be taken of"
    )
    require: Annotated[tuple[KindRule, ...], Field(strict=False)] = Field(
        default=(),
        description="kinds of layers that the net must have: a kind, several of which one must be there, "
        "or a table with kind and count",
    )
    forbid: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layers that the net must not have"
    )
    norm: NormKind | None = Field(default=None, description="the kind of every norm")
    dropout: Share | None = Field(
        default=None, description="probability of every dropout: a number, or [low, high]"
    )
    skeleton: Annotated[str, AfterValidator(_skeleton)] | None = Field(
        default=None,
        description='the layers in their order: C, 1x1, P (max-pooling), A, G and F, as "C C 1x1 P C G 1x1"',
    )
    blocks: BlockPattern | None = Field(default=None, description="the pattern of the net's blocks")
    augmentations: Annotated[tuple[AugmentationChoice, ...], Field(strict=False)] = Field(
        default=(),
        description="augmentations that the recipe must apply: names, tables with limits of settings, or "
        "lists of which one must be applied",
    )
    epochs: PositiveAmount | None = Field(
        default=None, description="epochs of the training: a number, or [low, high]"
    )
    batch_size: PositiveAmount | None = Field(
        default=None, description="images per step: a number, or [low, high]"
    )
    optimizer: OptimizerRule | None = Field(
        default=None, description="the optimizer: a name, or a table with limits of its settings"
    )
    schedule: ScheduleRule | None = Field(
        default=None, description="the schedule: a name, or a table with limits of its settings"
    )
    l1: SwitchOrQuantity | None = Field(
        default=None, description="an L1 penalty on the weights: true, its weight, or [low, high]"
    )
    min_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="minimum test accuracy of the last epoch, from 0 to 1"
    )
    each_of_last: int | None = Field(
        default=None, ge=1, description="number of last epochs that must each reach min_accuracy"
    )
    train_accuracy: TrainAccuracy | None = Field(
        default=None, description="minimum training accuracy after an epoch"
    )
    max_calibration_error: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="maximum expected calibration error on the test set, from 0 to 1",
    )
