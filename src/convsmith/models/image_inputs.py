"""Images for prediction: what texts name, Pillow images, and arrays."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.images.decode import Encoded
from convsmith.errors import ImageError
from convsmith.models.image_blocks import ImageBlock, ImageSource
from convsmith.models.image_listing import Note, image_blocks

ImageInput = str | Path | Image.Image | NDArray[np.uint8]

_ARRAYS = "(H, W), (H, W, C) or (N, H, W, C) with C of 1, 3 or 4"


class ImageSources:
    """Images in order; each is read on demand.

    Args:
        inputs: Blocks of images in files, Pillow images, and arrays.
    """

    def __init__(self, inputs: Sequence[ImageBlock | Image.Image | NDArray[np.uint8]]) -> None:
        self._inputs = inputs

    @property
    def files(self) -> Iterator[Path]:
        """The files that are read."""
        return (Path(each.location) for each in self._inputs if isinstance(each, ImageBlock))

    def __len__(self) -> int:
        return sum(len(each) if isinstance(each, ImageBlock) else len(_pixels(each)) for each in self._inputs)

    def __iter__(self) -> Iterator[ImageSource]:
        number = 0
        for each in self._inputs:
            if isinstance(each, ImageBlock):
                yield from each.sources()
                number += len(each)
                continue
            for image in _pixels(each):
                yield ImageSource(name=f"image {number}", read=partial(_same, image))
                number += 1


def image_sources(
    inputs: ImageInput | Iterable[ImageInput], note: Note = lambda _: None, column: str | None = None
) -> ImageSources:
    """Return images in order; each is read on demand.

    Args:
        inputs: As for `image_listing.image_blocks`; also Pillow images, and uint8 arrays `(H, W)`,
            `(H, W, C)` or `(N, H, W, C)`.
        note: As for `image_blocks`.
        column: As for `image_blocks`.

    Raises:
        FileError: Paths do not exist; one problem for each, before any image is read.
        ImageError: An array has another type or shape.
    """
    is_single = isinstance(inputs, str | Path | Image.Image | np.ndarray)
    every = [cast("ImageInput", inputs)] if is_single else list(cast("Iterable[ImageInput]", inputs))
    texts = (str(each) for each in every if isinstance(each, str | Path))
    blocks = iter(image_blocks(texts, note, column))
    sources: list[ImageBlock | Image.Image | NDArray[np.uint8]] = []
    for each in every:
        if isinstance(each, str | Path):
            sources += next(blocks)
        else:
            if isinstance(each, np.ndarray):
                _check_array(each)
            sources.append(each)
    return ImageSources(sources)


def _pixels(image: Image.Image | NDArray[np.uint8]) -> Sequence[Encoded]:
    """Return the images of an input in memory."""
    if isinstance(image, np.ndarray) and image.ndim == 4:
        return cast("Sequence[Encoded]", image)
    return [image]


def _same(image: Encoded) -> Encoded:
    return image


def _check_array(array: NDArray[np.generic]) -> None:
    """Raises ImageError for an array of another type or shape than images have."""
    fits = array.ndim == 2 or (array.ndim in {3, 4} and array.shape[-1] in {1, 3, 4})
    if array.dtype != np.uint8 or not fits or 0 in array.shape[-3:]:
        raise ImageError(
            f"found {array.dtype} {array.shape}, expected uint8 {_ARRAYS}",
            where="images",
            fix="pass pixels from 0 to 255 with the channels last: array.astype('uint8')",
        )
