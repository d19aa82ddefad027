"""Images on disk, read on access, for data sets larger than memory."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DiskImages:
    """An array-like of images `(N, H, W, C)` uint8 that keeps nothing in memory.

    Images are read into new arrays: the pages of a mapped file would count as memory of this process once
    they are touched.

    Args:
        mapped: A memory-mapped array of images.
        indices: Positions of these images in it, in this order; all images by default.
    """

    def __init__(
        self, mapped: np.memmap[Any, np.dtype[np.uint8]], indices: NDArray[np.int64] | None = None
    ) -> None:
        self.mapped = mapped
        self.indices = np.arange(len(mapped)) if indices is None else indices
        self.shape = (len(self.indices), *mapped.shape[1:])
        self.image_bytes = int(np.prod(mapped.shape[1:]))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | np.integer | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy: one image for an integer, several for a slice or an array of integers."""
        positions = self.indices[key]
        images = np.empty((np.size(positions), *self.shape[1:]), dtype=np.uint8)
        file = os.open(str(self.mapped.filename), os.O_RDONLY)
        try:
            for image, position in zip(images, np.atleast_1d(positions), strict=True):
                offset = self.mapped.offset + int(position) * self.image_bytes
                content = os.pread(file, self.image_bytes, offset)
                image[...] = np.frombuffer(content, np.uint8).reshape(image.shape)
        finally:
            os.close(file)
        return images if np.ndim(positions) else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        del copy
        return self[:].astype(dtype or np.uint8, copy=False)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def select(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> "DiskImages":
        """Return some of the images, still on disk."""
        return DiskImages(self.mapped, self.indices[indices])


Images = NDArray[np.uint8] | DiskImages
