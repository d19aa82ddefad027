"""Change each image of a batch on a CPU, by OpenCV.

A call of OpenCV takes a microsecond or two and computes with bytes. PyTorch converts to wider numbers and
back, for small groups of images, since each has its own operation: it takes longer.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.data.augment.padding import OPENCV_BORDERS

Pixels = NDArray[np.uint8]

_LEVELS = np.arange(256, dtype=np.int64)
# Pillow's SMOOTH: the centre counts five times, its neighbours once.
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


def each_image(images: Tensor, change: Callable[..., Any], *values: Any) -> Tensor:
    """Return copies of the images that a function has changed.

    Args:
        images: `(N, C, H, W)` uint8 on the CPU.
        change: Called with an image `(H, W, C)`, which it changes in place, and its values.
        values: Each has one value per image.

    Example:
        >>> images = torch.tensor([100, 200], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> each_image(images, brighten, [0.5, 0.1]).flatten().tolist()
        [50, 20]
    """
    images_NHWC = images.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)  # noqa: N806
    for image, *own in zip(images_NHWC.numpy(), *values, strict=True):
        change(image, *own)
    return images_NHWC.permute(0, 3, 1, 2)


def brighten(image: Pixels, factor: float) -> None:
    _look_up(image, _linear(factor, 0))


def change_contrast(image: Pixels, factor: float) -> None:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image
    _look_up(image, _linear(factor, cv2.mean(grey)[0] * (1 - factor)))


def saturate(image: Pixels, factor: float) -> None:
    if image.shape[2] == 3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        cv2.addWeighted(image, factor, grey, 1 - factor, 0, image)


def turn_hue(image: Pixels, turn: float) -> None:
    # The way to hues and back loses levels, so no turn is no change.
    if image.shape[2] == 3 and turn != 0:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        cv2.LUT(hsv, _hues(int(180 * turn % 180)), hsv)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, image)


def posterize(image: Pixels, bits: float) -> None:
    np.bitwise_and(image, np.uint8(256 - (1 << (8 - round(bits))) & 255), out=image)


def solarize(image: Pixels, threshold: float) -> None:
    _look_up(image, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS))


def autocontrast(image: Pixels) -> None:
    tables = []
    for counts in _histograms(image):
        present = counts.nonzero()[0]
        low, high = present[0], present[-1]
        stretched = np.clip(_LEVELS - low, 0, None) * 255 // max(high - low, 1)
        tables.append(np.minimum(stretched, 255) if high > low else _LEVELS)
    _look_up(image, *tables)


def equalize(image: Pixels) -> None:
    tables = []
    for counts in _histograms(image):
        # Pillow leaves out the lightest level that is present.
        step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
        spread = (step // 2 + counts.cumsum() - counts) // max(step, 1)
        tables.append(np.minimum(spread, 255) if step else _LEVELS)
    _look_up(image, *tables)


def sharpen(image: Pixels, factor: float) -> None:
    if min(image.shape[:2]) < 3:
        return
    smooth = cv2.filter2D(image, -1, _SMOOTH).reshape(image.shape)
    smooth[0], smooth[-1], smooth[:, 0], smooth[:, -1] = image[0], image[-1], image[:, 0], image[:, -1]
    cv2.addWeighted(image, factor, smooth, 1 - factor, 0, image)


def blur(image: Pixels, kernel: NDArray[np.float32]) -> None:
    """Convolve rows and columns with a kernel; the border reflects the image."""
    # Zeros would take time, and would choose other arithmetic for a kernel of another length.
    (used,) = kernel.nonzero()
    kernel = kernel[used[0] : used[-1] + 1]
    image[...] = cv2.sepFilter2D(image, -1, kernel, kernel).reshape(image.shape)


def box_blur(image: Pixels, side: int) -> None:
    image[...] = cv2.blur(image, (side, side)).reshape(image.shape)


def warp(image: Pixels, matrix: NDArray[np.float32], border: str, fill: tuple[float, ...]) -> None:
    """Move pixels by a matrix `(2, 3)` from places in the output to places in the image, bilinearly."""
    height, width = image.shape[:2]
    moved = cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=OPENCV_BORDERS.get(border, cv2.BORDER_CONSTANT),
        borderValue=fill if border == "mean" else 0,
    )
    image[...] = moved.reshape(image.shape)


def fill_rectangle(image: Pixels, levels: Pixels, place: list[int]) -> None:
    """Write levels into a rectangle (top, left, bottom, right), row by row."""
    top, left, bottom, right = place
    hole = image[top:bottom, left:right]
    hole[...] = levels[: hole.size].reshape(hole.shape)


def _look_up(image: Pixels, *tables: NDArray[Any]) -> None:
    """Replace levels by the entries of one table, or of one for each channel."""
    table = tables[0] if len(tables) == 1 else np.stack(tables, axis=1)[None]
    cv2.LUT(image, table.astype(np.uint8), image)


def _linear(factor: float, offset: float) -> NDArray[np.float32]:
    levels = _LEVELS.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return levels.clip(0, 255)


def _histograms(image: Pixels) -> list[NDArray[np.int64]]:
    return [
        cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
        for channel in range(image.shape[2])
    ]


@cache
def _hues(steps: int) -> Pixels:
    """Return a table `(1, 256, 3)` that turns hues, 0 to 179, and keeps saturation and value."""
    return np.stack(((_LEVELS + steps) % 180, _LEVELS, _LEVELS), axis=1)[None].astype(np.uint8)
