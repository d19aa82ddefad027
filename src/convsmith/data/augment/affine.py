"""Turning, zooming and moving whole batches of images, by parameters of each image's own."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from convsmith.data.augment.padding import clamped, fill_colour, fill_pixel, folded
from convsmith.data.augment.transforms import ShiftScaleRotate

# OpenCV counts rows in 16 bits.
_MOST_ROWS = 32_000
# Borders that show the image itself: which of its pixels, and PyTorch's name.
_INSIDE = {"reflect": folded, "replicate": clamped}
_PADDING = {"reflect": "reflection", "replicate": "border"}


class Affine(NamedTuple):
    """Per image: a turn in radians, a zoom, and a move by whole pixels; each `(N,)` float32."""

    angle: Tensor
    scale: Tensor
    right: Tensor
    down: Tensor


def draw_affine(
    transform: ShiftScaleRotate, count: int, size: tuple[int, int], generator: torch.Generator
) -> Affine:
    """Parameters of `count` images of a size `(H, W)`, distributed as albumentations' are."""
    angle, scale, right, down = torch.rand(4, count, generator=generator) * 2 - 1
    shift = transform.shift_limit
    return Affine(
        angle=angle * math.radians(transform.rotate_limit),
        scale=1 + scale * transform.scale_limit,
        right=(right * shift * size[1]).trunc(),
        down=(down * shift * size[0]).trunc(),
    )


def affine_images(images: Tensor, affine: Affine, border: str, mean: tuple[float, ...]) -> Tensor:
    """Turn, zoom and move images `(N, C, H, W)` uint8 about their centres, with bilinear interpolation.

    On a CPU OpenCV interpolates, which is faster than PyTorch, between places rounded to a 32nd of a pixel.
    """
    interpolate = _by_opencv if images.device.type == "cpu" else _by_pytorch
    return interpolate(images, affine, border, mean)


def _by_opencv(images: Tensor, affine: Affine, border: str, mean: tuple[float, ...]) -> Tensor:
    """All images as one, below each other: OpenCV takes one at a time."""
    import cv2

    height, width = images.shape[2:]
    across, down = _places(affine, (height, width))
    images_NHWC = images.permute(0, 2, 3, 1).contiguous()  # noqa: N806 - shape suffix
    if border in _INSIDE:
        inside = _INSIDE[border]
        across, down = inside(across, width), inside(down, height)
    else:
        # A frame of the colour: what lies beyond it is all colour, and the image fades into it.
        images_NHWC = _framed(images_NHWC, fill_pixel(images, border, mean))  # noqa: N806
        across, down = clamped(across + 1, width + 2), clamped(down + 1, height + 2)
    changed = torch.empty_like(images_NHWC[:, :height, :width])
    rows = images_NHWC.shape[1]
    at_once = max(1, _MOST_ROWS // rows)
    down = down + (torch.arange(len(images)) % at_once).view(-1, 1, 1) * rows
    for first in range(0, len(images), at_once):
        chosen = slice(first, first + at_once)
        found = cv2.remap(
            images_NHWC[chosen].flatten(0, 1).numpy(),
            across[chosen].flatten(0, 1).numpy(),
            down[chosen].flatten(0, 1).numpy(),
            cv2.INTER_LINEAR,
        )
        changed[chosen] = torch.from_numpy(found).view(-1, height, width, images.shape[1])
    return changed.permute(0, 3, 1, 2)


def _by_pytorch(images: Tensor, affine: Affine, border: str, mean: tuple[float, ...]) -> Tensor:
    height, width = images.shape[2:]
    across, down = _places(affine, (height, width))
    # The outermost pixels' centres are at -1 and 1.
    places = torch.stack((across * (2 / max(width - 1, 1)) - 1, down * (2 / max(height - 1, 1)) - 1), dim=3)
    if border in _INSIDE:
        # The half is there to round by: the way to uint8 cuts fractions off.
        values = functional.grid_sample(
            images + 0.5, places, padding_mode=_PADDING[border], align_corners=True
        )
        return values.to(torch.uint8)
    fill = fill_colour(images, border, mean)
    values = functional.grid_sample(images - fill, places, align_corners=True)
    return (values + (fill + 0.5)).to(torch.uint8)


def _places(affine: Affine, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each pixel of the results comes from, in pixels: how far right and how far down, `(N, H, W)`."""
    device = affine.angle.device
    turn = torch.polar(1 / affine.scale, affine.angle)[:, None]
    down, across = (torch.linspace(1 - length, length - 1, length, device=device) / 2 for length in size)
    # As complex numbers, whose product turns and zooms; a pixel's place is its column's plus its row's.
    columns = turn * (across - affine.right[:, None]) + complex((size[1] - 1) / 2, (size[0] - 1) / 2)
    rows = turn * torch.complex(torch.zeros((), device=device), down - affine.down[:, None])
    return (
        columns.real[:, None, :] + rows.real[:, :, None],
        columns.imag[:, None, :] + rows.imag[:, :, None],
    )


def _framed(images_NHWC: Tensor, pixel: Tensor) -> Tensor:  # noqa: N803 - shape suffix
    """Images with one pixel of a colour around each."""
    count, height, width, channels = images_NHWC.shape
    framed = pixel.expand(count, height + 2, width + 2, channels).contiguous()
    framed[:, 1:-1, 1:-1] = images_NHWC
    return framed
