"""Images on disk, read on access, for data sets larger than memory."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.system.positional import open_file, read_at

Mapped = np.memmap[Any, np.dtype[np.uint8]]


class DiskImages:
    """An array-like of images `(N, H, W, C)` uint8 that keeps nothing in memory.

    Images are read into new arrays: the pages of a mapped file would count as memory of this process once
    they are touched.

    Args:
        mapped: Memory-mapped arrays of images, which count as one.
        indices: Positions of these images in them, in this order; all images by default.
    """

    def __init__(self, *mapped: Mapped, indices: NDArray[np.int64] | None = None) -> None:
        self.files = mapped
        # The position of the first image of each file.
        self.starts = np.cumsum([0, *map(len, mapped)])
        self.indices = np.arange(self.starts[-1]) if indices is None else indices
        self.shape = (len(self.indices), *mapped[0].shape[1:])
        self.image_bytes = int(np.prod(self.shape[1:]))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | np.integer | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy: one image for an integer, several for a slice or an array of integers."""
        positions = self.indices[key]
        images = np.empty((np.size(positions), *self.shape[1:]), dtype=np.uint8)
        with ExitStack() as stack:
            opened: dict[int, int] = {}
            for image, position in zip(images, np.atleast_1d(positions), strict=True):
                number = int(np.searchsorted(self.starts, position, side="right")) - 1
                if number not in opened:
                    opened[number] = open_file(Path(str(self.files[number].filename)), os.O_RDONLY)
                    stack.callback(os.close, opened[number])
                place = int(position) - int(self.starts[number])
                offset = self.files[number].offset + place * self.image_bytes
                content = read_at(opened[number], self.image_bytes, offset)
                image[...] = np.frombuffer(content, np.uint8).reshape(image.shape)
        return images if np.ndim(positions) else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        del copy
        return self[:].astype(dtype or np.uint8, copy=False)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def select(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> "DiskImages":
        """Return some of the images, still on disk."""
        return DiskImages(*self.files, indices=self.indices[indices])

    def joined(self, other: "DiskImages") -> "DiskImages":
        """Return the images of both, those of the other last, still on disk."""
        indices = np.concatenate([self.indices, other.indices + self.starts[-1]])
        return DiskImages(*self.files, *other.files, indices=indices)


Images = NDArray[np.uint8] | DiskImages


def write_images(path: Path, images: Iterable[NDArray[np.uint8]], shape: tuple[int, ...]) -> str:
    """Write images one by one as an array of NumPy, and return the SHA-256 of the file.

    Args:
        path: Of the file; one that exists is replaced.
        images: Each `(H, W, C)`.
        shape: Of the array, `(N, H, W, C)`.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    header, digest = io.BytesIO(), hashlib.sha256()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with path.open("wb") as file:
        for content in chain([header.getvalue()], (image.tobytes() for image in images)):
            digest.update(content)
            file.write(content)
    return digest.hexdigest()
