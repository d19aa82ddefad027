"""One pass over an undecoded data set: which images are usable, and why the others are not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.data.background import BackgroundChoice
from convsmith.data.decode import DecodedImage, UnusableImageError, decode_each
from convsmith.data.image_modes import SIXTEEN_BIT_MODES
from convsmith.data.issues import DataIssue
from convsmith.data.raw import RawData, is_class_index
from convsmith.system.progress import track
from convsmith.text import plural

# The highest level of values that leave the first bit unused, such as those of a camera with 12 bits.
_HALF = 127
Visitor = Callable[[str, int, DecodedImage], None]


def both(first: Visitor, second: Visitor) -> Visitor:
    """Return a visitor that calls both of two."""

    def visit(split: str, index: int, image: DecodedImage) -> None:
        first(split, index, image)
        second(split, index, image)

    return visit


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """The contents of a data set.

    Attributes:
        damaged: Unusable images, in their order.
        usable: For each split `(N,)` bool: whether an image is usable.
        sizes: The number of usable images of each size `(width, height)`.
        examples: The location of the first image of each size.
        grey: Whether all usable images are grey.
        more_pages: The number of pages after the first of usable images, and animation frames likewise.
        background: What the default background follows from: the usable training images.
        sixteen_bits: The number of usable grey images of 16 bits.
        brightest: The highest level of 0 to 255 in these.
    """

    damaged: tuple[DataIssue, ...]
    usable: dict[str, NDArray[np.bool_]]
    sizes: Counter[tuple[int, int]]
    examples: dict[tuple[int, int], str]
    grey: bool
    background: BackgroundChoice
    more_pages: int = 0
    sixteen_bits: int = 0
    brightest: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What may not be meant, for the log."""
        if not self.sixteen_bits or self.brightest > _HALF:
            return ()
        images = plural(self.sixteen_bits, "image") + " of 16 bits"
        levels = f"{self.brightest + 1} of 256 brightness levels"
        return (f"{images}: the high byte has only {levels}; scale their values to 0 to 65,535 first",)

    @property
    def channels(self) -> int:
        """1 if all usable images are grey, else 3."""
        return 1 if self.grey else 3

    def labels(self, raw: RawData, split: str) -> list[int]:
        """Return the labels of the usable images of a split, in their order."""
        pairs = zip(raw.splits[split].labels, self.usable[split], strict=True)
        return [label for label, usable in pairs if usable]


def scan(raw: RawData, visit: Visitor | None = None) -> ScanResult:
    """Decode every image once, without keeping it in memory.

    Args:
        raw: From `read_source`.
        visit: Called for every usable image with its split, its index in the split, and the image.
    """
    damaged: list[DataIssue] = []
    usable, sizes, examples, grey = {}, Counter[tuple[int, int]](), dict[tuple[int, int], str](), True
    more_pages = sixteen_bits = brightest = 0
    background = BackgroundChoice()
    for name, split in raw.splits.items():
        usable[name] = np.zeros(len(split.labels), dtype=np.bool_)
        images = track(decode_each(split.images), f"Decoding {name} images", len(split.labels))
        for index, (image, label) in enumerate(zip(images, split.labels, strict=True)):
            if isinstance(image, UnusableImageError):
                damaged.append(DataIssue(kind=image.kind, file=split.locations[index], reason=image.reason))
            elif not is_class_index(label) or label >= len(raw.class_names):
                reason = f"label {label!r}, expected 0 to {len(raw.class_names) - 1}"
                damaged.append(DataIssue(kind="bad label", file=split.locations[index], reason=reason))
            else:
                usable[name][index] = True
                sizes[image.image.size] += 1
                if sizes[image.image.size] == 1:
                    examples[image.image.size] = split.locations[index]
                grey = grey and image.is_grey
                more_pages += image.pages - 1
                if image.mode in SIXTEEN_BIT_MODES:
                    sixteen_bits += 1
                    brightest = max(brightest, int(np.asarray(image.image).max()))
                if name == "train":
                    background.add(image)
                if visit:
                    visit(name, index, image)
    return ScanResult(
        damaged=tuple(damaged),
        usable=usable,
        sizes=sizes,
        examples=examples,
        grey=grey,
        more_pages=more_pages,
        background=background,
        sixteen_bits=sixteen_bits,
        brightest=brightest,
    )
