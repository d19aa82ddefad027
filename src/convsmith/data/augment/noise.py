"""Noise that depends on nothing but a seed per image: no device, batch or thread changes it."""

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x45D9F3B


def noise_levels(seeds: Tensor, count: int) -> Tensor:
    """Return uniformly random levels from 0 to 255 for each image.

    Args:
        seeds: `(N,)` int64, from 0 to 2**32 - 1, on the device that the levels are needed on.
        count: Levels per image.

    Returns:
        `(N, count)` uint8.

    Example:
        >>> torch.equal(noise_levels(torch.tensor([7, 8]), 5)[1], noise_levels(torch.tensor([8]), 5)[0])
        True
    """
    words = -(-count // 4)
    counter = torch.arange(words, device=seeds.device)
    # Seeds are scattered first, so that neighbouring ones share no stretch of numbers.
    mixed = _scatter((_scatter(seeds).view(-1, 1) + counter) & _MASK)
    # Each number of eight bytes has 32 random bits, in its first four bytes.
    return mixed.view(torch.uint8).view(-1, words, 8)[..., :4].flatten(1)[:, :count]


def _scatter(values: Tensor) -> Tensor:
    """Map 32-bit numbers to others, one to one, so that each bit depends on all."""
    for _ in range(2):
        values = ((values ^ (values >> 16)) * _MULTIPLIER) & _MASK
    return values ^ (values >> 16)
