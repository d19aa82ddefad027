"""Resizing of batches by matrix products."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize images like `functional.interpolate`, bilinear and antialiased.

    Each output row is a weighted sum of input rows, and each output column of input columns. Two matrix
    products take a third of the time of `functional.interpolate`.

    Args:
        images: `(N, C, H, W)`, of any dtype.
        size: Height and width of the output.

    Returns:
        `(N, C, size, size)` float32, channels last in memory. Values keep their range and are not rounded.

    Example:
        >>> image = torch.tensor([[0, 0, 70, 70]] * 4, dtype=torch.uint8).view(1, 1, 4, 4)
        >>> resize_images(image, 2).round().flatten().tolist()
        [10.0, 60.0, 10.0, 60.0]
    """
    rows, columns = _weights(images.shape[1:], size, images.device)
    # Rows of pixels with interleaved channels, as they are in memory.
    lines = images.permute(0, 2, 3, 1).flatten(2).float()
    return (rows @ lines @ columns).view(-1, size, size, images.shape[1]).permute(0, 3, 1, 2)


@cache
def _weights(shape: torch.Size, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the weights of input rows, `(size, H)`, and of interleaved input columns, `(W * C, size * C)`.

    Cached, since every step of a training uses the same ones; `shape` is `(C, H, W)`.
    """
    channels, height, width = shape
    rows, columns = _line_weights(height, size), _line_weights(width, size)
    interleaved = torch.einsum("nw,cd->wcnd", columns, torch.eye(channels)).flatten(2).flatten(0, 1)
    return rows.to(device), interleaved.to(device)


def _line_weights(length: int, size: int) -> Tensor:
    """Return the weight of each input pixel of a line in each output pixel: `(size, length)`."""
    single = torch.eye(length)[None, None]
    return functional.interpolate(single, size=(size, length), mode="bilinear", antialias=True)[0, 0]
