"""From arrays of numbers to images: which axis has the channels, and which value is white.

One rule for files of arrays and for arrays in memory:

- `(N, H, W)` is grey; of `(N, H, W, C)` and `(N, C, H, W)` the axis of 1, 3 or 4 has the channels. If both
  could, `data.channels` names it.
- Bytes are levels of 0 to 255. Truth values are black and white. Floats of 0 to 1 are multiplied by 255 and
  rounded; floats and whole numbers of 0 to 255 are levels, rounded. Of unsigned numbers of 16 bits above 255,
  the high byte is used. Anything else has no known scale.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convsmith.data.arrays.lazy import DAMAGE, LazyArray, damaged, refuse_objects
from convsmith.data.images.decode import MAX_PIXELS, MAX_SIDE, Encoded
from convsmith.errors import DataError
from convsmith.text import plural

Channels = Literal["first", "last"]
_GREY_OR_RGB, _RGBA = (1, 3), 4
# Floats above 1 that never reach the upper half of a byte are rather of another scale, such as 0 to 16.
_HALF = 128
_CHANNELS_FIX = 'data.channels="last" for (N, H, W, C), data.channels="first" for (N, C, H, W)'


@dataclass(frozen=True, kw_only=True)
class ValueRange:
    """The values of an array: the least and the greatest, and the first row with one that is not finite."""

    low: float
    high: float
    bad_row: int | None = None

    @property
    def text(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class PixelRule:
    """How the rows of arrays become images.

    Attributes:
        channels: The axis of the channels; None for `(N, H, W)`.
        scale: Of `"levels"`, `"unit"` for 0 to 1, and `"high byte"`.
        notes: What was decided, for the log.
    """

    channels: Channels | None
    scale: Literal["levels", "unit", "high byte"]
    notes: tuple[str, ...] = ()

    def images(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return images `(N, H, W)` or `(N, H, W, C)`, uint8.

        >>> rule = PixelRule(channels="first", scale="unit")
        >>> rule.images(np.array([[[[0.0, 0.5]], [[1.0, 0.2]], [[0.0, 0.0]]]])).tolist()
        [[[[0, 255, 0], [128, 51, 0]]]]
        """
        if self.channels == "first":
            rows = np.moveaxis(rows, 1, -1)
        if self.scale == "unit":
            # In double precision: 0.5 * 255 is rounded to even, as in every image of floats.
            return np.rint(rows.astype(np.float64) * 255).astype(np.uint8)
        if self.scale == "high byte":
            return (rows >> 8).astype(np.uint8)
        return (np.rint(rows) if rows.dtype.kind == "f" else rows).astype(np.uint8)


class ArrayImages:
    """The images of an array, in order. Each iteration reads its rows again."""

    def __init__(self, array: LazyArray, rule: PixelRule) -> None:
        self.array, self.rule = array, rule

    def __len__(self) -> int:
        return len(self.array)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded]:
        """Yield one image per row. Raises as `part`."""
        return self.part(0, len(self))

    def part(self, start: int, stop: int) -> Iterator[Encoded]:
        """Yield the images of some rows. Rows before them are read, not converted.

        Raises:
            DataError: The file is damaged. Its checksum covers all rows, so that none is known to be whole.
        """
        blocks, done = self.array.blocks(), 0
        while True:
            try:
                rows = next(blocks, None)
            except DAMAGE as error:
                raise damaged(self.array.where, error) from error
            if rows is None or (done >= stop and stop < len(self)):
                return
            chosen = rows[max(start - done, 0) : max(stop - done, 0)]
            done += len(rows)
            for image in self.rule.images(chosen) if len(chosen) else ():
                yield np.ascontiguousarray(image)


def pixel_rule(arrays: Sequence[LazyArray], channels: Channels | None) -> PixelRule:
    """Return the rule for the images of all splits, whose shapes and values must agree.

    Args:
        arrays: The images of each split, the training set first.
        channels: From the recipe.

    Raises:
        DataError: The arrays are no images, their axes are ambiguous, or their values have no known scale.
    """
    refuse_objects(arrays)
    axes = [_channel_axis(each, channels) for each in arrays]
    for each, axis in zip(arrays, axes, strict=True):
        if axis != axes[0]:
            raise DataError(
                f"found the shapes {arrays[0].shape} in {arrays[0].location} and {each.shape} in "
                f"{each.location}, expected one order of axes",
                where=each.where,
                fix="transpose one of them, or leave it out with data.splits",
            )
    scale, notes = _scale(arrays)
    if axes[0] == "first":
        notes = (f"the channels are the second axis of {arrays[0].location}, {arrays[0].shape}", *notes)
    return PixelRule(channels=axes[0], scale=scale, notes=notes)


def _channel_axis(array: LazyArray, channels: Channels | None) -> Channels | None:
    """Return the axis of the channels; None for grey images without one."""
    shape = array.shape
    if len(shape) == 2:
        raise DataError(
            f"found the shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)",
            where=array.where,
            fix=_unflatten(shape[1]),
        )
    if len(shape) not in {3, 4}:
        raise DataError(
            f"found the shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)",
            where=array.where,
            fix="write one array of images, with 3 or 4 axes",
        )
    axis = None if len(shape) == 3 else (channels or _guess(array))
    count = 1 if axis is None else shape[1 if axis == "first" else 3]
    if count not in {*_GREY_OR_RGB, _RGBA}:
        raise DataError(
            f"found {plural(count, 'channel')} in the shape {shape}, expected 1, 3 or 4",
            where=array.where,
            fix=f"{_CHANNELS_FIX}; or choose three channels",
        )
    height, width = shape[2:] if axis == "first" else shape[1:3]
    if not (0 < height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE):
        raise DataError(
            f"found images of {height:,}x{width:,} pixels, expected 1 to {MAX_PIXELS:,} in all",
            where=array.where,
            fix="write smaller images",
        )
    return axis


def _guess(array: LazyArray) -> Channels:
    """Return the axis of a shape `(N, ., ., .)` that has 1, 3 or 4 channels."""
    _, first, _, last = array.shape
    for counts in (_GREY_OR_RGB, (*_GREY_OR_RGB, _RGBA)):
        if (first in counts) != (last in counts):
            return "first" if first in counts else "last"
    if first in {*_GREY_OR_RGB, _RGBA}:
        raise DataError(
            f"found the shape {array.shape}: the second and the last axis could have the channels",
            where=array.where,
            fix=f"name it: {_CHANNELS_FIX}",
        )
    what = f"found the shape {array.shape}: no axis has 1, 3 or 4 channels"
    if array.shape[2] in _GREY_OR_RGB:
        fix = "move the channels to the end: np.moveaxis(x, 2, -1)"
    elif array.shape[0] in array.shape[1:]:
        fix = "volumes are not images: choose slices, or write images (N, H, W, C)"
    else:
        fix = "the first axis counts the images: np.moveaxis(x, -1, 0); volumes are not images"
    raise DataError(what, where=array.where, fix=fix)


def _unflatten(length: int) -> str:
    """Return how flat rows become images, if their length is that of a square one.

    >>> _unflatten(784)
    'restore the axes: x.reshape(-1, 28, 28)'
    """
    for channels, shape in ((1, "-1, {0}, {0}"), (3, "-1, {0}, {0}, 3")):
        side = math.isqrt(length // channels)
        if side > 1 and channels * side * side == length:
            also = f" (or (-1, 3, {side}, {side}), if all red values come first)" if channels == 3 else ""
            return f"restore the axes: x.reshape({shape.format(side)}){also}"
    return "restore the axes: x.reshape(-1, height, width)"


def _scale(
    arrays: Sequence[LazyArray],
) -> tuple[Literal["levels", "unit", "high byte"], tuple[str, ...]]:
    kinds = {each.dtype for each in arrays}
    if kinds == {np.dtype(np.uint8)}:
        return "levels", ()
    if kinds == {np.dtype(np.bool_)}:
        return "unit", ("truth values are black and white pixels",)
    for each in arrays:
        if each.dtype.kind not in "uif":
            raise DataError(
                f"found {each.dtype}, expected bytes, whole numbers or floats",
                where=each.where,
                fix="write x.astype(np.uint8), with levels of 0 to 255",
            )
    ranges = [_range(each) for each in arrays]
    for each, values in zip(arrays, ranges, strict=True):
        _check_values(each, values)
    is_float, high = any(kind.kind == "f" for kind in kinds), max(each.high for each in ranges)
    place, text = arrays[0].location, ranges[0].text
    if is_float and high <= 1:
        return "unit", (f"floats of {text} in {place}: multiplied by 255 and rounded",)
    if high > 255:
        return "high byte", (f"numbers of 16 bits in {place}, {text}: the high byte is used",)
    for each, values in zip(arrays, ranges, strict=True):
        is_dark = values.high < _HALF if each.dtype.kind == "f" else 0 < values.high <= 1
        if is_dark:
            raise DataError(
                f"found {each.dtype} values of {values.text}: their scale is not known",
                where=each.where,
                fix="write floats of 0 to 1, or levels of 0 to 255 as x.astype(np.uint8)"
                + ("" if values.high > 1 else "; the other splits have values above 1"),
            )
    return "levels", (f"values of {text} in {place}: taken as levels of 0 to 255",)


def _check_values(array: LazyArray, values: ValueRange) -> None:
    fix = "write floats of 0 to 1, or levels of 0 to 255 as x.astype(np.uint8)"
    if values.bad_row is not None:
        raise DataError(
            f"found NaN or infinite pixels, the first in row {values.bad_row}",
            where=array.where,
            fix="leave these images out, or np.nan_to_num(x) if 0 is meant",
        )
    top = 65_535 if array.dtype == np.uint16 else 255
    if values.low < 0:
        what = "they look normalised; undo it, since convsmith normalises itself"
        raise DataError(f"found values of {values.text}: {what}", where=array.where, fix=fix)
    if values.high > top:
        raise DataError(
            f"found values of {values.text}, expected at most {top:,}: their scale is not known",
            where=array.where,
            fix=fix,
        )


def _range(array: LazyArray) -> ValueRange:
    """Return the range of the values of an array, in one pass."""
    low, high, done = math.inf, -math.inf, 0
    try:
        for rows in array.blocks():
            if rows.dtype.kind == "f" and not np.isfinite(rows).all():
                finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
                return ValueRange(low=low, high=high, bad_row=done + int(np.argmin(finite)))
            if rows.size:
                low, high = min(low, float(rows.min())), max(high, float(rows.max()))
            done += len(rows)
    except DAMAGE as error:
        raise damaged(array.where, error) from error
    return ValueRange(low=low, high=high) if math.isfinite(low) else ValueRange(low=0.0, high=0.0)
