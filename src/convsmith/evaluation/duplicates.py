"""Test images that the training set has too, as they are or nearly so."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from convsmith.data.memory_mapped import Images
from convsmith.evaluation.predictions import Indices

# Images are first compared as this many pixels a side, and candidates as they are.
COARSE_SIDE, CANDIDATES, BLOCK = 8, 3, 512
# Root-mean-square difference in grey levels of 0 to 255, after the means were made equal.
LARGEST_DIFFERENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A test image and the training image that it nearly is; `difference` is in levels of 0 to 255."""

    test: int
    train: int
    difference: float
    same_label: bool


def near_duplicates(
    train: Images, train_labels: Indices, test: Images, test_labels: Indices
) -> tuple[Duplicate, ...]:
    """Find test images that differ from a training image by no more than 10 of 255 levels.

    The difference is the root of the mean square over all pixels, brightness apart. The three training
    images that correlate best at 8x8 pixels are looked at, so a copy that was moved or cropped is not found.

    Args:
        train: `(N, H, W, C)` uint8.
        train_labels: `(N,)`.
        test: `(M, H, W, C)` uint8.
        test_labels: `(M,)`.

    Returns:
        The nearest for each test image that has one, the most alike first.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
        >>> labels = np.arange(4)
        >>> [(each.test, each.train) for each in near_duplicates(images, labels, images[2:3], labels[2:3])]
        [(0, 2)]
    """
    coarse = torch.from_numpy(_coarse(train))
    found = []
    for start in range(0, len(test), BLOCK):
        some = test[start : start + BLOCK]
        alike = torch.from_numpy(_coarse(some)) @ coarse.T
        candidates = alike.topk(min(CANDIDATES, len(coarse)), sorted=False).indices.numpy()
        for offset, (image, places) in enumerate(zip(some, candidates, strict=True)):
            differences = [_difference(image, train[int(place)]) for place in places]
            best = int(np.argmin(differences))
            if differences[best] <= LARGEST_DIFFERENCE:
                index, place = start + offset, int(places[best])
                found.append(
                    Duplicate(
                        test=index,
                        train=place,
                        difference=differences[best],
                        same_label=bool(train_labels[place] == test_labels[index]),
                    )
                )
    return tuple(sorted(found, key=lambda each: (each.difference, each.test)))


def _coarse(images: Images) -> NDArray[np.float32]:
    """Images as few pixels of mean 0 and length 1, `(N, F)`; flat ones are 0."""
    parts = [_shrunk(images[start : start + 4096]) for start in range(0, len(images), 4096)]
    lines = np.concatenate(parts)
    lines -= lines.mean(1, keepdims=True)
    lengths = np.linalg.norm(lines, axis=1, keepdims=True)
    result: NDArray[np.float32] = lines / np.maximum(lengths, 1e-6)
    return result


def _shrunk(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = images.astype(np.float32)
    for axis in (1, 2):
        side = pixels.shape[axis]
        edges = np.unique(np.linspace(0, side, min(COARSE_SIDE, side), endpoint=False).astype(int))
        widths = np.diff([*edges, side]).astype(np.float32)
        shape = [1] * pixels.ndim
        shape[axis] = len(widths)
        pixels = (np.add.reduceat(pixels, edges, axis=axis) / widths.reshape(shape)).astype(np.float32)
    return pixels.reshape(len(pixels), -1)


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    gap = one.astype(np.float32) - other
    gap -= gap.mean()
    return float(np.sqrt((gap**2).mean()))
