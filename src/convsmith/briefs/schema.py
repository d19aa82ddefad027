"""The fields of a brief."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from convsmith.briefs.augmentations import AugmentationRule
from convsmith.briefs.structure import LayerKind

FileFormat = Literal["fp32", "fp16", "int8"]


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


class Brief(BaseModel):
    """Requirements on a net and its training. Fields that are left out are not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_parameters: int | None = Field(default=None, ge=1, description="maximum number of parameters")
    min_parameters: int | None = Field(default=None, ge=1, description="minimum number of parameters")
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
    require: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layers that the net must have"
    )
    forbid: Annotated[tuple[LayerKind, ...], Field(strict=False)] = Field(
        default=(), description="kinds of layers that the net must not have"
    )
    blocks: BlockPattern | None = Field(default=None, description="the pattern of the net's blocks")
    augmentations: Annotated[tuple[AugmentationRule, ...], Field(strict=False)] = Field(
        default=(),
        description="augmentations that the recipe must apply: names, or tables with limits of settings",
    )
    min_accuracy: float | None = Field(
        default=None, gt=0, le=1, description="minimum test accuracy of the last epoch, from 0 to 1"
    )
    max_calibration_error: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="maximum expected calibration error on the test set, from 0 to 1",
    )
