"""A recipe's transforms as calls of albumentations, as one writes them by hand."""

from collections.abc import Callable, Sequence
from typing import Any

from convsmith.codegen import call, number
from convsmith.data.augment.transforms import (
    CoarseDropout,
    Cutout,
    HorizontalFlip,
    RandomBrightnessContrast,
    RandomCrop,
    ShiftScaleRotate,
    Transform,
)

_BORDERS = {"reflect": "cv2.BORDER_REFLECT_101", "replicate": "cv2.BORDER_REPLICATE"}


def transform_lines(transforms: Sequence[Transform], image_shape: tuple[int, int, int], indent: int) -> str:
    """The transforms of a recipe, one after the other, each ending in a comma.

    Flips that alternate are left out: they are no matter of chance, and the data set does them.

    Args:
        transforms: Of the `[augment]` table.
        image_shape: `(C, H, W)`.
        indent: Spaces before each line.
    """
    written = [
        _WRITERS[type(each)](each, image_shape, indent) for each in transforms if not is_alternate(each)
    ]
    return "\n".join(" " * indent + text for text in written)


def is_alternate(transform: Transform) -> bool:
    return isinstance(transform, HorizontalFlip) and transform.alternate


def _flip(transform: HorizontalFlip, _: Any, indent: int) -> str:
    return call("A.HorizontalFlip", [f"p={number(transform.p)}"], indent=indent, after=",")


def _shift_scale_rotate(transform: ShiftScaleRotate, _: Any, indent: int) -> str:
    shift, turn = number(transform.shift_limit), number(transform.rotate_limit)
    low, high = (number(round(1 + sign * transform.scale_limit, 6)) for sign in (-1, 1))
    arguments = [
        f"translate_percent=(-{shift}, {shift})",
        f"scale=({low}, {high})",
        f"rotate=(-{turn}, {turn})",
        "keep_ratio=True",
        *_border(transform.border),
        f"p={number(transform.p)}",
    ]
    comment = (
        f"# ShiftScaleRotate, by its successor: the one of that name scales each\n{' ' * indent}# axis apart."
    )
    return f"{comment}\n{' ' * indent}" + call("A.Affine", arguments, indent=indent, after=",")


def _coarse_dropout(transform: CoarseDropout, _: Any, indent: int) -> str:
    arguments = [
        f"{name}={tuple(getattr(transform, name))}"
        for name in ("num_holes_range", "hole_height_range", "hole_width_range")
    ]
    arguments += [f"fill={_fill(transform.fill)}", f"p={number(transform.p)}"]
    return call("A.CoarseDropout", arguments, indent=indent, after=",")


def _random_crop(transform: RandomCrop, image_shape: tuple[int, int, int], indent: int) -> str:
    _, height, width = image_shape
    inner = indent + 8
    steps = [
        call("A.Pad", [str(transform.padding), *_border(transform.border), "p=1"], indent=inner, after=","),
        f"A.RandomCrop({height}, {width}),",
    ]
    lines = [
        "A.Sequential(",
        f"{' ' * (indent + 4)}[",
        *(" " * inner + step for step in steps),
        f"{' ' * (indent + 4)}],",
        f"{' ' * (indent + 4)}p={number(transform.p)},",
        f"{' ' * indent}),",
    ]
    return "\n".join(lines)


def _cutout(transform: Cutout, _: Any, indent: int) -> str:
    arguments = [str(transform.size), f"fill={_fill(transform.fill)}", f"p={number(transform.p)}"]
    return call("Cutout", arguments, indent=indent, after=",")


def _brightness_contrast(transform: RandomBrightnessContrast, _: Any, indent: int) -> str:
    arguments = [
        f"brightness_limit={number(transform.brightness_limit)}",
        f"contrast_limit={number(transform.contrast_limit)}",
        f"p={number(transform.p)}",
    ]
    return call("A.RandomBrightnessContrast", arguments, indent=indent, after=",")


def _border(border: str) -> list[str]:
    """Black, which is albumentations' own way, needs no argument."""
    if border in _BORDERS:
        return [f"border_mode={_BORDERS[border]}"]
    return ["fill=FILL"] if border == "mean" else []


def _fill(fill: str) -> str:
    return "FILL" if fill == "mean" else "0"


_WRITERS: dict[type[Any], Callable[[Any, tuple[int, int, int], int], str]] = {
    HorizontalFlip: _flip,
    ShiftScaleRotate: _shift_scale_rotate,
    CoarseDropout: _coarse_dropout,
    RandomCrop: _random_crop,
    Cutout: _cutout,
    RandomBrightnessContrast: _brightness_contrast,
}
