"""The background that transparent images are composited over.

The shape of an icon may be in its alpha channel alone, in black or in white ink. By default a data set gets
the background that tells its own images apart: of white, black and grey the one with the highest contrast to
what is visible in the training images, each image counting up to a contrast that is clearly seen. White wins
a tie. Without transparent training images it is their mean colour, which is 0 after normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor

from convsmith.data.images.decode import DecodedImage
from convsmith.data.images.input_rule import Colour

CANDIDATES: Mapping[str, Colour] = {"white": (255,) * 3, "black": (0,) * 3, "grey": (128,) * 3}
# In levels of 0 to 255; a higher contrast counts as much.
_CLEAR = 32
# Pixels that are converted at once.
_BLOCK = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """What one image contributes to the choice.

    Attributes:
        pixels: Their number.
        sums: Of the levels of red, green and blue, without regard to transparency.
        contrast: To each of `CANDIDATES`, 0 to 32; None if every pixel is opaque.
    """

    pixels: int
    sums: tuple[int, int, int]
    contrast: tuple[int, ...] | None


def contribution(decoded: DecodedImage) -> Contribution:
    """Measure an image.

    >>> contribution(DecodedImage(image=Image.new("L", (2, 3), 7), alpha=None, mode="L"))
    Contribution(pixels=6, sums=(42, 42, 42), contrast=None)
    """
    contrast = None
    if decoded.alpha is not None:
        visible, distances = _visible_distances(decoded.image.convert("RGB"), decoded.alpha)
        # The contrast is undefined if nothing is visible.
        contrast = tuple(min(each // (3 * visible), _CLEAR) if visible else 0 for each in distances)
    height, width, bands = decoded.pixels.shape
    # A side has at most 65,535 pixels, so that sums of columns fit.
    columns = decoded.pixels.reshape(height, width * bands).sum(axis=0, dtype=np.uint32)
    sums = columns.reshape(width, bands).sum(axis=0, dtype=np.int64).tolist()
    red, green, blue = sums * (3 // bands)
    return Contribution(pixels=width * height, sums=(red, green, blue), contrast=contrast)


class BackgroundChoice:
    """Collects what the background follows from; sums of integers, so that the order does not matter."""

    def __init__(self) -> None:
        self.contrast = dict.fromkeys(CANDIDATES, 0)
        self.transparent = self.pixels = 0
        self.sums = np.zeros(3, dtype=np.int64)

    def add(self, measured: Contribution) -> None:
        """Count a training image."""
        self.sums += measured.sums
        self.pixels += measured.pixels
        if measured.contrast is None:
            return
        self.transparent += 1
        for name, contrast in zip(CANDIDATES, measured.contrast, strict=True):
            self.contrast[name] += contrast

    def colour(self, channels: int) -> Colour:
        """Return the background, with a level for each channel."""
        if self.transparent:
            best = max(CANDIDATES, key=self.contrast.__getitem__)
            return in_channels(CANDIDATES[best], channels)
        count = max(self.pixels, 1)
        mean = tuple(int(each) for each in (2 * self.sums + count) // (2 * count))
        return in_channels((mean[0], mean[1], mean[2]), channels)


def _visible_distances(image: Image.Image, alpha: Image.Image) -> tuple[int, list[int]]:
    """Return the sum of the alpha values, and the distance of the visible pixels to each candidate.

    In rows of few pixels at a time: sums of integers need eight bytes a level.
    """
    visible, distances = 0, [0] * len(CANDIDATES)
    rows = max(1, _BLOCK // image.width)
    for top in range(0, image.height, rows):
        part = (0, top, image.width, min(top + rows, image.height))
        pixels = np.asarray(image.crop(part), dtype=np.int64)
        weights = np.asarray(alpha.crop(part), dtype=np.int64)
        visible += int(weights.sum())
        for number, colour in enumerate(CANDIDATES.values()):
            distances[number] += int((np.abs(pixels - colour).sum(axis=2) * weights).sum())
    return visible, distances


def named_colour(name: str, channels: int) -> Colour:
    """Return a colour of the recipe: a name of `CANDIDATES`, or `#rrggbb`.

    >>> named_colour("#ff8000", 3), named_colour("white", 1)
    ((255, 128, 0), (255,))
    """
    return in_channels(CANDIDATES.get(name) or ImageColor.getrgb(name), channels)


def in_channels(colour: Colour, channels: int) -> Colour:
    """Return an RGB colour, or its grey level for one channel."""
    if channels == 3:
        return colour
    grey = Image.new("RGB", (1, 1), colour[:3]).convert("L")
    return tuple(grey.tobytes())
