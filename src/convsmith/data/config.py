"""The `[data]` table: which data set a run uses, and how it is split."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from convsmith.data.fold import TEST_SET, EvaluationSet, Fold
from convsmith.errors import Problem
from convsmith.text import plural

# The least and the most pixels of a side that images are resized to.
_LEAST, _MOST = 4, 1024
# One number per channel: for grey images, or for red, green and blue.
_Levels = Annotated[tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...], Field(strict=False)]
# Smaller deviations are not those of 8-bit images, and would overflow single precision.
_Deviations = Annotated[
    tuple[Annotated[float, Field(ge=1e-4, le=1, allow_inf_nan=False)], ...], Field(strict=False)
]


_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def _check_resize(value: Any) -> Any:
    """Return a side, height and width, or None. Raises ValueError for anything else."""
    sides = _SIZE.fullmatch(value) if isinstance(value, str) else None
    numbers = [int(side) for side in sides.groups()] if sides else [value]
    if value is None or all(type(each) is int and _LEAST <= each <= _MOST for each in numbers):
        return value
    raise ValueError(
        f"found {value!r}; write a side, or height and width such as "
        f'data.resize="96x128", each of {_LEAST} to {_MOST} pixels'
    )


def _check_fold(text: str) -> str:
    return str(Fold.parse(text))


FoldText = Annotated[str, AfterValidator(_check_fold)]


class SplitNames(BaseModel):
    """The `[data.splits]` table: where the splits of a source are, if their names do not tell.

    A folder of images has folders, relative to the source, in which every folder is a class. Parquet files
    have the beginnings of their paths. Hub data sets have splits. The validation split goes with
    `data.validation = "split"`.

    >>> SplitNames(train="seg_train", test="seg_test").by_role()
    {'train': 'seg_train', 'test': 'seg_test'}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    train: str = Field(min_length=1, max_length=4096, description="the training set")
    test: str | None = Field(
        default=None, min_length=1, max_length=4096, description="the test set; by default split off"
    )

    validation: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description='the validation split, with data.validation="split"',
    )

    def by_role(self) -> dict[str, str]:
        """Return the names of the splits that are given."""
        names = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: name for role, name in names.items() if name}


class DataConfig(BaseModel):
    """The `[data]` table of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str = Field(
        min_length=1,
        max_length=4096,
        description='"digits", "mnist", "cifar10", "fashion-mnist", a folder, or "owner/name" on the hub',
    )
    validation: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] | Literal["split"] = Field(
        default=0.0,
        description='share of the training set held out for validation, or "split": the validation split '
        "of the source",
    )
    test_fraction: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.2, description="share held out as the test set, if the source has none"
    )
    split_seed: int = Field(
        default=0, ge=0, lt=2**32, description="seed of the validation and test splits, which are stratified"
    )
    fold: FoldText | None = Field(
        default=None,
        description='"2/5" divides the training set into five folds, and holds the second out as the set '
        "that the net is evaluated on; the test set is not used",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="keep groups of images in one split: a column, or a regular expression for file names",
    )
    resize: Annotated[int | str | None, BeforeValidator(_check_resize)] = Field(
        default=None,
        description='resize all images to this height and width in pixels: a number, or "96x128" for a '
        "height of 96 and a width of 128",
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
    table: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="the table of labels beside images, if there are several: a path relative to the source, "
        "or an absolute one",
    )
    image_column: str | None = Field(
        default=None, description="the images' column, or part of the name of their array, if ambiguous"
    )
    label_column: str | None = Field(default=None, description="the labels', likewise")
    label_columns: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None,
        description="the columns of a table beside images that are one-hot; their names are the classes",
    )
    merge_spellings: bool = Field(
        default=False,
        description="classes whose names differ only in case, spaces or separators are one class, with the "
        "name that most training images have",
    )
    channels: Literal["first", "last"] | None = Field(
        default=None,
        description='the axis of the channels in arrays, if ambiguous: "first" for (N, C, H, W), "last"',
    )
    splits: SplitNames | None = Field(default=None, description="where the splits are, if ambiguous by name")

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        named = self.splits and self.splits.validation
        if named and not self.own_validation:
            raise ValueError(
                f"data.splits.validation names a split, and data.validation={self.validation:g} does not use "
                "it; "
                'write data.validation="split", or remove data.splits.validation'
            )
        if self.own_validation and self.splits and not named:
            raise ValueError(
                'data.validation="split" uses the validation split, and data.splits names none; '
                'write data.splits.validation="NAME"'
            )
        return self

    @property
    def held_out_fold(self) -> Fold | None:
        """The fold that is held out; None in ordinary trainings.

        >>> DataConfig(source="digits", fold="2/5").held_out_fold
        Fold(number=2, count=5)
        """
        return None if self.fold is None else Fold.parse(self.fold)

    @property
    def evaluation_set(self) -> EvaluationSet:
        """The names of the images that a net is evaluated on."""
        fold = self.held_out_fold
        return TEST_SET if fold is None else fold.evaluation_set

    @property
    def own_validation(self) -> bool:
        """Whether the validation split of the source is used as such."""
        return self.validation == "split"

    @property
    def validation_share(self) -> float:
        """The share of the training images that is held out for validation; 0 without such images."""
        return 0.0 if isinstance(self.validation, str) else self.validation

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to; None without `resize`.

        >>> DataConfig(source="pets", resize=32).size, DataConfig(source="pets", resize="96x128").size
        ((32, 32), (96, 128))
        """
        if self.resize is None:
            return None
        sides = str(self.resize).split("x")
        return int(sides[0]), int(sides[-1])

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
