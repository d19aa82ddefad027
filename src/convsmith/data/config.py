"""The `[data]` table: which data set a run uses, and how it is split."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class DataConfig(BaseModel):
    """The `[data]` table of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str = Field(
        min_length=1,
        max_length=4096,
        description='"digits", "mnist", "cifar10", "fashion-mnist", a folder, or "owner/name" on the hub',
    )
    validation: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.0, description="share of the training set held out for validation"
    )
    test_fraction: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.2, description="share held out as the test set, if the source has none"
    )
    split_seed: int = Field(
        default=0, ge=0, lt=2**32, description="seed of the validation and test splits, which are stratified"
    )
    resize: int | None = Field(
        default=None, ge=4, le=1024, description="resize all images to this height and width in pixels"
    )
    skip_damaged: bool = Field(
        default=False, description="leave out and list damaged images instead of stopping"
    )
    keep_in: Literal["auto", "memory", "disk"] = Field(
        default="auto",
        description='where decoded images are kept during training; "auto": in memory up to a quarter of it',
    )
    image_column: str | None = Field(default=None, description="the images' column, if ambiguous by type")
    label_column: str | None = Field(default=None, description="the labels' column, if ambiguous by type")
