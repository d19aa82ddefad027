"""The `[data]` table: which data set a run uses, and how it is split."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from convsmith.errors import Problem
from convsmith.text import plural

# One number per channel: for grey images, or for red, green and blue.
_Levels = Annotated[tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...], Field(strict=False)]
# Smaller deviations are not those of 8-bit images, and would overflow single precision.
_Deviations = Annotated[
    tuple[Annotated[float, Field(ge=1e-4, le=1, allow_inf_nan=False)], ...], Field(strict=False)
]


class SplitNames(BaseModel):
    """The `[data.splits]` table: where the splits of a source are, if their names do not tell.

    A folder of images has folders, relative to the source, in which every folder is a class. Parquet files
    have the beginnings of their paths. Hub data sets have splits.

    >>> SplitNames(train="seg_train", test="seg_test").by_role()
    {'train': 'seg_train', 'test': 'seg_test'}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    train: str = Field(min_length=1, max_length=4096, description="the training set")
    test: str | None = Field(
        default=None, min_length=1, max_length=4096, description="the test set; by default split off"
    )

    def by_role(self) -> dict[str, str]:
        """Return the names of the splits that are given."""
        return {"train": self.train, **({"test": self.test} if self.test else {})}


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
    group: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="keep groups of images in one split: a column, or a regular expression for file names",
    )
    resize: int | None = Field(
        default=None, ge=4, le=1024, description="resize all images to this height and width in pixels"
    )
    resize_policy: Literal["stretch", "crop", "pad"] | None = Field(
        default=None,
        description='how images of other sizes become the net\'s: "stretch" (the default with resize), '
        '"crop" (the default without it, where it concerns predicted images only), or "pad"',
    )
    background: str | None = Field(
        default=None,
        pattern="^(white|black|grey|#[0-9A-Fa-f]{6})$",
        description='the colour behind transparent pixels and of "pad": "white", "black", "grey", "#rrggbb"; '
        "by default the one of the three that the training images stand out from",
    )
    mean: _Levels | None = Field(
        default=None,
        description="subtracted from pixels scaled to 0..1, one number per channel; by default measured",
    )
    std: _Deviations | None = Field(
        default=None,
        description="divides the pixels after that, one number per channel; by default measured",
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
    splits: SplitNames | None = Field(default=None, description="where the splits are, if ambiguous by name")

    @property
    def policy(self) -> Literal["stretch", "crop", "pad"]:
        """The resize policy in effect."""
        return self.resize_policy or ("stretch" if self.resize else "crop")

    def channel_problems(self, channels: int) -> list[Problem]:
        """Return what is wrong with `mean` and `std` for images of this many channels.

        >>> [each.what for each in DataConfig(source="mnist", std=(0.2, 0.2)).channel_problems(1)]
        ['found 2 numbers, expected 1: the images have 1 channel']
        """
        return [
            Problem(
                what=f"found {plural(len(values), 'number')}, expected {channels}: the images have "
                f"{plural(channels, 'channel')}",
                where=f"data.{name}",
                fix=f"write data.{name}=[{', '.join(['0.5'] * channels)}], or leave it out to measure it",
            )
            for name, values in (("mean", self.mean), ("std", self.std))
            if values is not None and len(values) != channels
        ]
