"""What a data set is judged by, of each usable image; also in arrays, as records and workers write it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.images.background import Contribution, contribution
from convsmith.data.images.decode import DecodedImage
from convsmith.data.images.modes import SIXTEEN_BIT_MODES
from convsmith.system.stamps import FileStamp

# The dtype of each column, and the shape of its cells.
COLUMNS: Mapping[str, tuple[Any, tuple[int, ...]]] = {
    "size": (np.int32, (2,)),
    "mode": ("S8", ()),
    "is_grey": (np.bool_, ()),
    "pages": (np.int64, ()),
    "brightest": (np.int16, ()),
    "pixels": (np.int64, ()),
    "sums": (np.int64, (3,)),
    "contrast": (np.int16, (3,)),
    "stamp": (np.int64, (4,)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """What a data set is judged by, of one usable image.

    Attributes:
        size: `(width, height)`.
        mode: Of the file.
        is_grey: Whether the mode of the file is grey.
        pages: The number of images in the file.
        brightest: The highest level of 0 to 255 of a grey image of 16 bits; None for others.
        background: What it contributes to the default background.
        stamp: Of its file; None if nothing identifies its content.
    """

    size: tuple[int, int]
    mode: str
    is_grey: bool
    pages: int
    brightest: int | None
    background: Contribution
    stamp: FileStamp | None


def facts_of(decoded: DecodedImage) -> ImageFacts:
    """Measure a decoded image."""
    wide = decoded.mode in SIXTEEN_BIT_MODES
    return ImageFacts(
        size=decoded.image.size,
        mode=decoded.mode,
        is_grey=decoded.is_grey,
        pages=decoded.pages,
        brightest=int(decoded.pixels.max()) if wide else None,
        background=contribution(decoded),
        stamp=decoded.stamp,
    )


def cells_of(facts: ImageFacts) -> dict[str, Any]:
    """Return the cells of an image, by column."""
    return {
        "size": facts.size,
        "mode": facts.mode.encode(),
        "is_grey": facts.is_grey,
        "pages": facts.pages,
        "brightest": -1 if facts.brightest is None else facts.brightest,
        "pixels": facts.background.pixels,
        "sums": facts.background.sums,
        "contrast": facts.background.contrast or (-1, -1, -1),
        "stamp": facts.stamp or (0, 0, 0, 0),
    }


def columns_of(facts: Sequence[ImageFacts]) -> dict[str, NDArray[Any]]:
    """Return the facts of several images in arrays; `facts_in` is the reverse."""
    rows = [cells_of(each) for each in facts]
    return {
        name: np.array([row[name] for row in rows], dtype).reshape(len(rows), *cell)
        for name, (dtype, cell) in COLUMNS.items()
    }


def facts_in(columns: Mapping[str, NDArray[Any]]) -> Iterator[ImageFacts]:
    """Yield the facts of each image."""
    for size, mode, is_grey, pages, brightest, pixels, sums, contrast, stamp in zip(
        *(columns[name].tolist() for name in COLUMNS), strict=True
    ):
        yield ImageFacts(
            size=(size[0], size[1]),
            mode=mode.decode(),
            is_grey=is_grey,
            pages=pages,
            brightest=None if brightest < 0 else brightest,
            background=Contribution(
                pixels=pixels,
                sums=(sums[0], sums[1], sums[2]),
                contrast=None if contrast[0] < 0 else tuple(contrast),
            ),
            stamp=tuple(stamp) if any(stamp) else None,
        )
