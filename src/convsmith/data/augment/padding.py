"""Pixels outside an image: the image itself, reflected or replicated, or a colour."""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Border = Literal["reflect", "replicate", "mean", "black"]
Fill = Literal["mean", "black"]
# OpenCV's numbers of borders that show the image itself: BORDER_REPLICATE and BORDER_REFLECT_101.
OPENCV_BORDERS = {"replicate": 1, "reflect": 4}


def fill_colour(images: "Tensor", fill: str, mean: tuple[float, ...]) -> "Tensor":
    """Return the mean colour or black: `(1, C, 1, 1)` float32, levels from 0 to 255."""
    import torch

    levels = mean if fill == "mean" else (0.0,) * len(mean)
    return torch.tensor(levels).to(images.device, non_blocking=True).view(1, -1, 1, 1)


def fill_pixel(images: "Tensor", fill: str, mean: tuple[float, ...]) -> "Tensor":
    """Return one pixel of the fill colour, rounded: `(C,)` uint8."""
    import torch

    return (fill_colour(images, fill, mean) + 0.5).to(torch.uint8).flatten()


def too_small(area: int, height: int, width: int) -> str:
    """Return why holes of an area in pixels hardly change an image; empty if they do.

    >>> too_small(16, 32, 32), too_small(1, 32, 32)
    ('', 'its holes cover less than 1/256 of the image')
    """
    return "its holes cover less than 1/256 of the image" if 256 * area < height * width else ""


def is_inside(coordinates: "Tensor", length: int) -> "Tensor":
    """Return which coordinates, in pixels, are inside the image."""
    return (coordinates >= 0) & (coordinates < length)


def clamp_coordinates(coordinates: "Tensor", length: int) -> "Tensor":
    """Return the nearest coordinates inside the image."""
    return coordinates.clamp(0, length - 1)


def reflect_coordinates(coordinates: "Tensor", length: int) -> "Tensor":
    """Reflect coordinates about the centres of the outermost pixels, like OpenCV's BORDER_REFLECT_101.

    >>> import torch
    >>> reflect_coordinates(torch.tensor([-3.0, -0.5, 0.0, 3.0, 3.25, 7.0]), 4).tolist()
    [3.0, 0.5, 0.0, 3.0, 2.75, 1.0]
    >>> reflect_coordinates(torch.tensor([-3, -1, 0, 3, 4, 7]), 4).tolist()
    [3, 1, 0, 3, 2, 1]
    """
    import torch

    if length == 1:
        return torch.zeros_like(coordinates)
    # The distance from the nearest image of the first pixel.
    period = 2 * (length - 1)
    turns = (coordinates / period).round_().to(coordinates.dtype)
    return torch.sub(coordinates, turns, alpha=period).abs_()


def albumentations_border(border: str, mean: tuple[float, ...]) -> dict[str, Any]:
    """Return the arguments of albumentations' geometric transforms for a border."""
    return {
        "border_mode": OPENCV_BORDERS.get(border, 0),  # BORDER_CONSTANT
        "fill": mean if border == "mean" else 0,
    }


def border_source(border: str) -> list[str]:
    """Return the source text of these arguments; black is albumentations' default."""
    modes = {"reflect": "cv2.BORDER_REFLECT_101", "replicate": "cv2.BORDER_REPLICATE"}
    if border in modes:
        return [f"border_mode={modes[border]}"]
    return ["fill=FILL"] if border == "mean" else []


def fill_source(fill: str) -> str:
    """Return the source text of the argument `fill`."""
    return f"fill={'FILL' if fill == 'mean' else '0'}"
