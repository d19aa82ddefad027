"""Near-duplicates: test images that the training set contains too, or nearly so."""

import numpy as np
import torch
from numpy.typing import NDArray

from convsmith.data.dataset import Split
from convsmith.data.memory_mapped import Images
from convsmith.evaluation.schema import DuplicatePair, Duplicates

# Candidates are chosen by their correlation at this many pixels a side, then compared at full size.
COARSE_SIDE, CANDIDATES, BLOCK = 8, 3, 512
# Root mean square of the differences of pixels in levels of 0 to 255, after the means are made equal.
LARGEST_DIFFERENCE = 10.0
MOST_LISTED = 50


def find_duplicates(train: Split, test: Split) -> Duplicates:
    """Find test images that nearly equal a training image, and list the 50 closest pairs.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
        >>> train = Split(images=images, labels=np.arange(4))
        >>> find_duplicates(train, train.select(np.array([2]))).count
        1
    """
    pairs = duplicate_pairs(train, test)
    return Duplicates(
        largest_difference=LARGEST_DIFFERENCE,
        count=len(pairs),
        other_label=sum(not pair.same_label for pair in pairs),
        pairs=pairs[:MOST_LISTED],
    )


def duplicate_pairs(train: Split, test: Split) -> tuple[DuplicatePair, ...]:
    """Pair test images with training images that differ from them by no more than 10 of 255 levels.

    The difference is the root mean square over all pixels, with equal brightness. Only the three training
    images that correlate best at 8x8 pixels are compared, so a shifted or cropped copy is not detected.

    Returns:
        The closest training image of each test image that has one, the smallest difference first.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
        >>> train = Split(images=images, labels=np.arange(4))
        >>> [(each.test, each.train) for each in duplicate_pairs(train, train.select(np.array([2])))]
        [(0, 2)]
    """
    coarse = torch.from_numpy(_coarse(train.images))
    pairs = []
    for start in range(0, len(test), BLOCK):
        block = test.images[start : start + BLOCK]
        correlations = torch.from_numpy(_coarse(block)) @ coarse.T
        candidates = correlations.topk(min(CANDIDATES, len(coarse)), sorted=False).indices.numpy()
        for offset, (image, places) in enumerate(zip(block, candidates, strict=True)):
            differences = [_difference(image, train.images[int(place)]) for place in places]
            best = int(np.argmin(differences))
            if differences[best] <= LARGEST_DIFFERENCE:
                index, place = start + offset, int(places[best])
                pairs.append(
                    DuplicatePair(
                        test=index,
                        train=place,
                        difference=differences[best],
                        same_label=bool(train.labels[place] == test.labels[index]),
                    )
                )
    return tuple(sorted(pairs, key=lambda each: (each.difference, each.test)))


def _coarse(images: Images) -> NDArray[np.float32]:
    """Shrink images to vectors `(N, F)` of mean 0 and length 1; a flat image gives 0."""
    parts = [_shrink(images[start : start + 4096]) for start in range(0, len(images), 4096)]
    vectors = np.concatenate(parts)
    vectors -= vectors.mean(1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-6)
    return result


def _shrink(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = images.astype(np.float32)
    for axis in (1, 2):
        side = pixels.shape[axis]
        edges = np.unique(np.linspace(0, side, min(COARSE_SIDE, side), endpoint=False).astype(int))
        widths = np.diff([*edges, side]).astype(np.float32)
        shape = [1] * pixels.ndim
        shape[axis] = len(widths)
        pixels = (np.add.reduceat(pixels, edges, axis=axis) / widths.reshape(shape)).astype(np.float32)
    return pixels.reshape(len(pixels), -1)


def _difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    difference = first.astype(np.float32) - second
    difference -= difference.mean()
    return float(np.sqrt((difference**2).mean()))
