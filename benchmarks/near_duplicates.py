"""Near-duplicates in CIFAR-10 and MNIST: pairs, CPU seconds, and how many changed copies are found.

Of each data set, the near-duplicates among all images; then 300 images of it are changed in each way of
`CHANGES`, and every changed copy is searched for among all images. It counts as found if its original is
listed. Two to five minutes on one core.
"""

import io
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.checks.near_duplicates import NearPair, near_pairs
from convsmith.data.checks.thumbnails import thumbnails_of
from convsmith.data.config import DataConfig
from convsmith.data.dataset import image_ids, load

Pixels = NDArray[np.uint8]
SOURCES = ("cifar10", "mnist")
COPIES = 300


def _levels(values: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scaled(factor: float, offset: float = 0) -> Callable[[Pixels], Pixels]:
    return lambda image: _levels(image.astype(float) * factor + offset)


def _shifted(down: int, right: int) -> Callable[[Pixels], Pixels]:
    """Repeat the border: a photo that is cropped elsewhere has other pixels there."""

    def change(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        return np.pad(image, ((down, 0), (right, 0), (0, 0)), mode="edge")[:height, :width]

    return change


def _noisy(levels: float) -> Callable[[Pixels], Pixels]:
    random = np.random.default_rng(0)
    return lambda image: _levels(image + random.normal(0, levels, image.shape))


def _compressed(quality: int) -> Callable[[Pixels], Pixels]:
    def change(image: Pixels) -> Pixels:
        content = io.BytesIO()
        Image.fromarray(image.squeeze()).save(content, "JPEG", quality=quality)
        return np.asarray(Image.open(content)).reshape(image.shape)

    return change


CHANGES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "flip": lambda image: image[:, ::-1],
    "quarter turn": np.rot90,
    **{f"shift right by {pixels}": _shifted(0, pixels) for pixels in (1, 2, 3, 4)},
    **{f"shift right and down by {pixels}": _shifted(pixels, pixels) for pixels in (1, 2, 3, 4)},
    "brightness x 0.6": _scaled(0.6),
    "brightness + 40": _scaled(1, 40),
    "contrast x 0.5": _scaled(0.5, 64),
    "contrast x 1.3": _scaled(1.3, -38.4),
    **{f"noise of {levels} levels": _noisy(levels) for levels in (5, 10, 20)},
    **{f"JPEG at quality {quality}": _compressed(quality) for quality in (90, 75, 50)},
}


def find_pairs(images: Pixels, num_train: int) -> tuple[list[NearPair], int]:
    """Return the pairs of images, training images first, and the number of pairs across splits."""
    pairs = near_pairs(images)
    return pairs, sum((pair.image < num_train) != (pair.other < num_train) for pair in pairs)


def found_shares(thumbnails: Pixels) -> dict[str, float]:
    """Return the share of changed copies whose original is found, for each change."""
    chosen = np.random.default_rng(0).choice(len(thumbnails), COPIES, replace=False)
    copies = np.stack([change(thumbnails[index]) for change in CHANGES.values() for index in chosen])
    found = np.zeros(len(copies), dtype=np.bool_)
    for pair in near_pairs(copies, thumbnails):
        found[pair.image] |= pair.other == chosen[pair.image % COPIES]
    return dict(zip(CHANGES, found.reshape(-1, COPIES).mean(axis=1).tolist(), strict=True))


def _table(source: str) -> str:
    data = load(DataConfig(source=source))
    images = np.concatenate([np.asarray(data.train.images), np.asarray(data.test.images)])
    equal = len(images) - len(np.unique(image_ids(images)))
    began = time.process_time()
    thumbnails = thumbnails_of(images)
    pairs, across = find_pairs(thumbnails, len(data.train))
    seconds = time.process_time() - began
    rows = [f"  {name:25} {100 * share:6.1f} %" for name, share in found_shares(thumbnails).items()]
    head = f"{source}: {len(images):,} images, {equal} equal to another, {len(pairs):,} pairs"
    head = f"{head}, {across:,} across splits; {seconds:.0f} CPU seconds"
    return "\n".join([head, f"  of {COPIES} changed copies, found:", *rows])


def main() -> str:
    """Return the text of both data sets."""
    return "\n".join(_table(source) for source in SOURCES)
