"""Rectangular holes in images, filled with a colour."""

from typing import NamedTuple

import torch
from torch import Tensor

from convsmith.data.augment.padding import fill_pixel


class Holes(NamedTuple):
    """Rectangles `(N, holes)` in pixels, ends excluded; an empty rectangle covers nothing."""

    top: Tensor
    left: Tensor
    bottom: Tensor
    right: Tensor


def cover_images(images: Tensor, holes: Holes, fill: str, mean: tuple[float, ...]) -> Tensor:
    """Fill the holes of images `(N, C, H, W)` uint8 with the mean colour, or with black."""
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device)
    # Rows of pixels with interleaved channels, as they are in memory.
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    down = _bit_mask((rows >= holes.top[..., None]) & (rows < holes.bottom[..., None]))
    across = _bit_mask((columns >= holes.left[..., None]) & (columns < holes.right[..., None]))
    covered = down[:, 0, :, None] & across[:, 0, None, :]
    for hole in range(1, down.shape[1]):
        covered |= down[:, hole, :, None] & across[:, hole, None, :]
    colour = fill_pixel(images, fill, mean).repeat(width)
    lines = images.permute(0, 2, 3, 1).reshape(len(images), height, -1)
    # Equivalent to torch.where; PyTorch's bit operations on bytes are an order of magnitude faster.
    painted = ((lines ^ colour) & covered) ^ lines
    return painted.view(-1, height, width, channels).permute(0, 3, 1, 2)


def _bit_mask(condition: Tensor) -> Tensor:
    """Return 255 where true, else 0, as uint8."""
    return condition.to(torch.uint8).mul_(255)
