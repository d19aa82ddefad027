"""Near-duplicates: test images that the training set contains too, or nearly so."""

from convsmith.data.checks.near_duplicates import LARGEST_DIFFERENCE, NearPair, near_pairs
from convsmith.data.checks.thumbnails import thumbnails_of
from convsmith.data.dataset import Split
from convsmith.evaluation.schema import DuplicatePair, Duplicates

MOST_LISTED = 50


def find_duplicates(train: Split, test: Split) -> Duplicates:
    """Find test images that nearly equal a training image, and list the 50 closest pairs.

    Example:
        >>> import numpy as np
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
    """Pair test images with training images that are nearly equal; see `data.near_duplicates`.

    Returns:
        The closest training image of each test image that has one, the smallest difference first.

    Example:
        >>> import numpy as np
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
        >>> train = Split(images=images, labels=np.arange(4))
        >>> [(each.test, each.train) for each in duplicate_pairs(train, train.select(np.array([2])))]
        [(0, 2)]
    """
    closest: dict[int, NearPair] = {}
    for pair in near_pairs(thumbnails_of(test.images), thumbnails_of(train.images)):
        closest.setdefault(pair.image, pair)
    pairs = [
        DuplicatePair(
            test=pair.image,
            train=pair.other,
            difference=pair.difference,
            same_label=bool(train.labels[pair.other] == test.labels[pair.image]),
        )
        for pair in closest.values()
    ]
    return tuple(sorted(pairs, key=lambda each: (each.difference, each.test)))
