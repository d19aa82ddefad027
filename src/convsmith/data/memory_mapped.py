"""Images that stay on disk: read when they are asked for, so that a data set may be larger than memory."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FileImages:
    """Looks like an array of images `(N, H, W, C)` uint8; nothing of it is kept in memory.

    The pages of a mapped file count as this process's memory once they were touched; what is read into an
    array of its own goes with that array.

    Args:
        mapped: An array mapped from a file, whose rows are the images.
        rows: The places in it of these images, in this order; all by default.
    """

    def __init__(
        self, mapped: np.memmap[Any, np.dtype[np.uint8]], rows: NDArray[np.int64] | None = None
    ) -> None:
        self.mapped = mapped
        self.rows = np.arange(len(mapped)) if rows is None else rows
        self.shape = (len(self.rows), *mapped.shape[1:])
        self.bytes_each = int(np.prod(mapped.shape[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | np.integer | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """One image for a number, several for a slice or an array of numbers; always a copy."""
        wanted = self.rows[key]
        images = np.empty((np.size(wanted), *self.shape[1:]), dtype=np.uint8)
        file = os.open(str(self.mapped.filename), os.O_RDONLY)
        try:
            for image, row in zip(images, np.atleast_1d(wanted), strict=True):
                image[...] = np.frombuffer(
                    os.pread(file, self.bytes_each, self.mapped.offset + int(row) * self.bytes_each), np.uint8
                ).reshape(image.shape)
        finally:
            os.close(file)
        return images if np.ndim(wanted) else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        del copy
        return self[:].astype(dtype or np.uint8, copy=False)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[index] for index in range(len(self)))

    def pick(self, places: NDArray[np.int64]) -> "FileImages":
        """Some of the images, still on disk."""
        return FileImages(self.mapped, self.rows[places])


Images = NDArray[np.uint8] | FileImages
