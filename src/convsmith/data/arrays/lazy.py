"""Arrays in memory and in `.npy` and `.npz` files, read a block of rows at a time and never unpickled."""

import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from convsmith.errors import DataError

# Bytes of rows in memory at once, and of an array that can only be read as a whole.
_BLOCK, _MAX_WHOLE = 8 * 2**20, 2**31
_MAX_MEMBERS = 1000
# An array that grows by more than this, beyond a size that is harmless, is made to exhaust memory or time.
_MAX_RATIO, _HARMLESS = 200, 2**28
# For damaged files, zipfile, its decoders and NumPy's header parser raise these.
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, RuntimeError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
Rows = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LazyArray:
    """An array whose rows are read in order.

    Attributes:
        location: The file or the name of the array, for errors and records.
        shape: Of all rows.
        blocks: Returns the rows in blocks; damage raises one of `DAMAGE`.
    """

    location: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[Rows]]

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def shape_text(self) -> str:
        """The shape as text.

        >>> lazy_array("x", np.zeros((2, 3))).shape_text
        '(2, 3)'
        """
        return str(self.shape)

    def load(self) -> Rows:
        """Return the whole array, such as labels.

        Raises:
            DataError: The array is too large to be in memory, or damaged.
        """
        if self.nbytes > _MAX_WHOLE:
            raise DataError(
                f"{self.nbytes:,} bytes, expected at most {_MAX_WHOLE:,}",
                where=self.location,
                fix="labels have one number for each image",
            )
        try:
            blocks = list(self.blocks())
        except DAMAGE as error:
            raise damaged(self.location, error) from error
        return np.concatenate(blocks) if blocks else np.empty(self.shape, self.dtype)


def lazy_array(location: str, array: Rows) -> LazyArray:
    """Return an array that is in memory, or mapped from a file.

    >>> list(lazy_array("x", np.arange(3)).blocks())
    [array([0, 1, 2])]
    """
    return LazyArray(location=location, shape=array.shape, dtype=array.dtype, blocks=partial(_slices, array))


def read_npy(path: Path, location: str) -> LazyArray:
    """Return the array of a `.npy` file, mapped from it.

    Raises:
        DataError: The file is damaged. One with pickled objects is not read: `refuse_objects` names it.
    """
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file)
        if dtype.hasobject:
            return _objects(location, shape, dtype)
        return lazy_array(location, np.load(path, mmap_mode="r", allow_pickle=False))
    except DAMAGE as error:
        raise damaged(str(path), error) from error


def read_npz(path: Path) -> dict[str, LazyArray]:
    """Return the arrays of a `.npz` file by name. Their rows are unpacked when they are read.

    Raises:
        DataError: The file is damaged, or unpacks to far more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if each.filename.endswith(".npy")]
            if len(members) > _MAX_MEMBERS or len({each.filename for each in members}) < len(members):
                raise ValueError(f"{len(members):,} arrays, or two of one name")
            return {each.filename.removesuffix(".npy"): _member(path, archive, each) for each in members}
    except DAMAGE as error:
        raise damaged(str(path), error) from error


def damaged(where: str, error: Exception) -> DataError:
    """Return the error for a file of arrays that cannot be read."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"the arrays cannot be read: {reason}", where=where, fix="download or write it again")


def refuse_objects(arrays: Sequence[LazyArray]) -> None:
    """Raise DataError for arrays of objects, which in a file are pickled."""
    for each in arrays:
        if each.dtype.hasobject:
            raise DataError(
                "the array has Python objects, which are pickled: reading them can run code, so they are not "
                "read",
                where=each.location,
                fix="write numbers: np.savez(path, x_train=np.stack(images), y_train=np.array(labels)); "
                "images of several sizes as files in class folders",
            )


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> LazyArray:
    location = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        shape, is_fortran, dtype = _header(file)
        start = file.tell()
    if dtype.hasobject:
        return _objects(location, shape, dtype)
    size = math.prod(shape) * dtype.itemsize
    if size != member.file_size - start:
        raise ValueError(f"{location}: {member.file_size - start:,} bytes for {dtype} of shape {shape}")
    if member.file_size > max(_HARMLESS, _MAX_RATIO * member.compress_size):
        raise ValueError(
            f"{location}: {member.compress_size:,} bytes of the file become {member.file_size:,}"
        )
    is_whole = is_fortran and len(shape) > 1
    if is_whole and size > _MAX_WHOLE:
        raise ValueError(f"{location}: {size:,} bytes in Fortran's order; write np.ascontiguousarray(x)")
    read = partial(_fortran_rows if is_whole else _member_rows, path, member.filename, shape, dtype)
    return LazyArray(location=location, shape=shape, dtype=dtype, blocks=read)


def _objects(location: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> LazyArray:
    return LazyArray(location=location, shape=shape, dtype=dtype, blocks=lambda: iter(()))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether columns come first, and its type."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"NumPy's format {version[0]}.{version[1]}, expected plain numbers or texts")
    shape, is_fortran, dtype = readers[version](file)
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape {shape}")
    return shape, is_fortran, dtype


def _member_rows(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Rows]:
    rest, row = shape[0] if shape else 0, math.prod(shape[1:]) * dtype.itemsize
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        _header(file)
        while rest:
            count = min(rest, max(1, _BLOCK // max(row, 1)))
            content = file.read(count * row)
            # Whole rows of a file that ends too early are used.
            done = len(content) // row if row else count
            yield np.frombuffer(content[: done * row], dtype).reshape(done, *shape[1:])
            if done < count:
                raise EOFError("the file ends before this row")
            rest -= count


def _fortran_rows(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Rows]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        _header(file)
        content = file.read()
    yield from _slices(np.frombuffer(content, dtype).reshape(shape, order="F"))


def _slices(array: Rows) -> Iterator[Rows]:
    row = array[:1].nbytes
    step = max(1, _BLOCK // max(row, 1))
    for start in range(0, len(array), step):
        yield array[start : start + step]
