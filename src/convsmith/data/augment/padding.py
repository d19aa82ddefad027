"""What lies beyond an image's border: the image itself, folded or continued, or a colour."""

import torch
from torch import Tensor


def fill_colour(images: Tensor, wanted: str, mean: tuple[float, ...]) -> Tensor:
    """The mean colour if it is wanted, else black: `(1, C, 1, 1)` float32, in levels of 255."""
    levels = mean if wanted == "mean" else (0.0,) * len(mean)
    return torch.tensor(levels).to(images.device, non_blocking=True).view(1, -1, 1, 1)


def fill_pixel(images: Tensor, wanted: str, mean: tuple[float, ...]) -> Tensor:
    """One pixel of that colour, rounded: `(C,)` uint8."""
    return (fill_colour(images, wanted, mean) + 0.5).to(torch.uint8).flatten()


def within(places: Tensor, length: int) -> Tensor:
    """Which places, in pixels, are of the image."""
    return (places >= 0) & (places < length)


def clamped(places: Tensor, length: int) -> Tensor:
    """The nearest places of the image."""
    return places.clamp(0, length - 1)


def folded(places: Tensor, length: int) -> Tensor:
    """Reflected about the outermost pixels' centres, as often as it takes, as OpenCV's default border is.

    >>> folded(torch.tensor([-3.0, -0.5, 0.0, 3.0, 3.25, 7.0]), 4).tolist()
    [3.0, 0.5, 0.0, 3.0, 2.75, 1.0]
    >>> folded(torch.tensor([-3, -1, 0, 3, 4, 7]), 4).tolist()
    [3, 1, 0, 3, 2, 1]
    """
    if length == 1:
        return torch.zeros_like(places)
    # How far from the nearest of the places that show the first pixel.
    period = 2 * (length - 1)
    turns = (places / period).round_().to(places.dtype)
    return torch.sub(places, turns, alpha=period).abs_()
