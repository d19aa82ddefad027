"""One pass over a data set as it was found: which images can be used, and which cannot and why."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.data.decode import GREY_MODES, DecodedImage, UnusableImageError, look_at
from convsmith.data.issues import DataIssue
from convsmith.data.raw import RawData, is_label

Visitor = Callable[[str, int, DecodedImage], None]


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """What there is in a data set.

    Attributes:
        damaged: Images that cannot be used, in the order in which they come.
        usable: Of each split `(N,)` bool: whether an image can be used.
        sizes: How many usable images have a size, `(width, height)`.
        examples: The first image of each size.
        grey: Whether all usable images are.
    """

    damaged: tuple[DataIssue, ...]
    usable: dict[str, NDArray[np.bool_]]
    sizes: Counter[tuple[int, int]]
    examples: dict[tuple[int, int], str]
    grey: bool

    def labels(self, raw: RawData, split: str) -> list[int]:
        """Of the usable images of a split, in their order."""
        chosen = zip(raw.splits[split].labels, self.usable[split], strict=True)
        return [label for label, usable in chosen if usable]


def survey(raw: RawData, visit: Visitor | None = None) -> ScanResult:
    """Decode every image once; nothing but what is said of it stays in memory.

    Args:
        raw: From `read`.
        visit: Is shown every usable image, with its split and its place in that.
    """
    damaged: list[DataIssue] = []
    usable, sizes, examples, grey = {}, Counter[tuple[int, int]](), dict[tuple[int, int], str](), True
    for name, split in raw.splits.items():
        usable[name] = np.zeros(len(split.labels), dtype=np.bool_)
        for index, (found, label) in enumerate(zip(look_at(split.images), split.labels, strict=True)):
            if isinstance(found, UnusableImageError):
                damaged.append(DataIssue(kind=found.kind, file=split.places[index], reason=found.reason))
            elif not is_label(label) or label >= len(raw.class_names):
                reason = f"label {label!r}, expected 0 to {len(raw.class_names) - 1}"
                damaged.append(DataIssue(kind="bad label", file=split.places[index], reason=reason))
            else:
                usable[name][index] = True
                sizes[found.image.size] += 1
                if sizes[found.image.size] == 1:
                    examples[found.image.size] = split.places[index]
                grey = grey and found.mode in GREY_MODES
                if visit:
                    visit(name, index, found)
    return ScanResult(damaged=tuple(damaged), usable=usable, sizes=sizes, examples=examples, grey=grey)
