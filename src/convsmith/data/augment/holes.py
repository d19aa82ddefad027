"""Rectangular holes in images, filled with a colour or with noise."""

from typing import NamedTuple

import torch
from torch import Tensor

from convsmith.data.augment.each_image import each_image, fill_rectangle
from convsmith.data.augment.noise import noise_levels
from convsmith.data.augment.padding import fill_pixel


class Holes(NamedTuple):
    """Rectangles `(N, holes)` in pixels, ends excluded; an empty rectangle covers nothing."""

    top: Tensor
    left: Tensor
    bottom: Tensor
    right: Tensor


def cover_images(images: Tensor, holes: Holes, fill: str, mean: tuple[float, ...]) -> Tensor:
    """Fill the holes of images `(N, C, H, W)` uint8 with the mean colour, or with black."""
    return fill_holes(images, holes, fill_pixel(images, fill, mean).repeat(images.shape[3]))


def fill_holes(images: Tensor, holes: Holes, content: Tensor) -> Tensor:
    """Fill the holes of images `(N, C, H, W)` uint8.

    Args:
        images: The images.
        holes: Those of each image.
        content: The content of the holes, uint8: one line for all, `(W * C,)`, or whole images,
            `(N, H, W * C)`; channels are interleaved.
    """
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, device=images.device)
    # Rows of pixels with interleaved channels, as they are in memory.
    columns = torch.arange(width, device=images.device).repeat_interleave(channels)
    down = _bit_mask((rows >= holes.top[..., None]) & (rows < holes.bottom[..., None]))
    across = _bit_mask((columns >= holes.left[..., None]) & (columns < holes.right[..., None]))
    covered = down[:, 0, :, None] & across[:, 0, None, :]
    for hole in range(1, down.shape[1]):
        covered |= down[:, hole, :, None] & across[:, hole, None, :]
    lines = images.permute(0, 2, 3, 1).reshape(len(images), height, -1)
    # Equivalent to torch.where; PyTorch's bit operations on bytes are an order of magnitude faster.
    painted = ((lines ^ content) & covered) ^ lines
    return painted.view(-1, height, width, channels).permute(0, 3, 1, 2)


def fill_with_noise(images: Tensor, holes: Holes, seeds: Tensor) -> Tensor:
    """Fill one hole of each image, inside it, with random levels.

    The levels of a hole follow each other row by row, whatever computes them, so all devices have the same.

    Args:
        images: `(N, C, H, W)` uint8.
        holes: `(N, 1)`.
        seeds: `(N,)` int64, from 0 to 2**32 - 1.
    """
    by = _noise_by_rectangles if images.device.type == "cpu" else _noise_by_pixels
    return by(images, holes, seeds)


def _noise_by_rectangles(images: Tensor, holes: Holes, seeds: Tensor) -> Tensor:
    areas = (holes.bottom - holes.top) * (holes.right - holes.left)
    # Rectangles of a small share of a small image may be empty.
    noise = noise_levels(seeds, max(int(areas.max()), 1) * images.shape[1])
    return each_image(images, fill_rectangle, noise.numpy(), torch.cat(holes, dim=1).tolist())


def _noise_by_pixels(images: Tensor, holes: Holes, seeds: Tensor) -> Tensor:
    channels, height, width = images.shape[1:]
    noise = noise_levels(seeds, height * width * channels)
    down = torch.arange(height, device=images.device) - holes.top
    across = torch.arange(width, device=images.device) - holes.left
    # The number of each pixel in its hole; those outside have any.
    number = down[:, :, None] * (holes.right - holes.left)[:, :, None] + across[:, None, :]
    places = number[..., None] * channels + torch.arange(channels, device=images.device)
    content = noise.gather(1, places.flatten(1).clamp_(0, noise.shape[1] - 1))
    return fill_holes(images, holes, content.view(-1, height, width * channels))


def _bit_mask(condition: Tensor) -> Tensor:
    """Return 255 where true, else 0, as uint8."""
    return condition.to(torch.uint8).mul_(255)
