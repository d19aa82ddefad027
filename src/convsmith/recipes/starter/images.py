"""What kind of images a data set has, as far as augmentation depends on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.data.dataset import Split

# Images that are looked at; levels of 0 to 255 of a photo's brightness, and deviation of an even border.
_SAMPLE, _LEVELS, _EVEN = 200, 64, 8.0
# Share of the images that must be alike.
_MOST = 0.6
_LEAST_SIDE_OF_A_PHOTO = 24


@dataclass(frozen=True, kw_only=True)
class ImageKind:
    """The kind of the images of a data set.

    Attributes:
        photos: Whether they are colour images with many levels, as photos are and drawings are not.
        even_border: Whether the outermost pixels of an image are nearly equal, as on a plain background.
    """

    photos: bool
    even_border: bool

    @classmethod
    def of(cls, split: Split, seed: int = 0) -> "ImageKind":
        """Judge a random sample of the images."""
        order = np.random.default_rng(seed).permutation(len(split))[:_SAMPLE]
        images = np.asarray(split.select(np.sort(order)).images)
        photos = [_is_photo(image) for image in images]
        borders = [_has_even_border(image) for image in images]
        return cls(photos=bool(np.mean(photos) > _MOST), even_border=bool(np.mean(borders) > _MOST))


def _is_photo(image: NDArray[np.uint8]) -> bool:
    height, width, channels = image.shape
    if channels == 1 or min(height, width) < _LEAST_SIDE_OF_A_PHOTO:
        return False
    return len(np.unique(image.mean(axis=2).astype(np.uint8))) >= _LEVELS and bool(
        (np.ptp(image, axis=2) > 0).any()
    )


def _has_even_border(image: NDArray[np.uint8]) -> bool:
    ring = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.float32)
    return bool((np.abs(ring - np.median(ring, axis=0)).max(axis=1) <= _EVEN).mean() > 0.9)
