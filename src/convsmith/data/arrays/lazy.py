"""Arrays in memory and in `.npy` and `.npz` files, read a block of rows at a time and never unpickled."""

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsmith.data.files.storage import Files
from convsmith.errors import DataError

# Bytes of rows in memory at once, and of an array that can only be read as a whole.
_BLOCK, _MAX_WHOLE = 8 * 2**20, 2**31
_MAX_MEMBERS = 1000
# An array that grows by more than this, beyond a size that is harmless, is made to exhaust memory or time.
_MAX_RATIO, _HARMLESS = 200, 2**28
# For damaged files, zipfile, its decoders and NumPy's header parser raise these.
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, RuntimeError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile, tokenize.TokenError),
)
Rows = NDArray[Any]
# Opens a file at its beginning.
Open = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, kw_only=True)
class LazyArray:
    """An array whose rows are read in order.

    Attributes:
        location: The file or the name of the array, for records.
        shape: Of all rows.
        blocks: Returns the rows in blocks; damage raises one of `DAMAGE`.
        file: The file that the array is in, with its folder; empty for an array in memory.
    """

    location: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[Rows]]
    file: str = ""

    @property
    def where(self) -> str:
        """Where the array is, for errors: the file, and the name in it."""
        name = "" if self.file.endswith(self.location) else self.location
        return ", ".join(filter(None, (self.file, name)))

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
                where=self.where,
                fix="labels have one number for each image",
            )
        try:
            blocks = list(self.blocks())
        except DAMAGE as error:
            raise damaged(self.where, error) from error
        return np.concatenate(blocks) if blocks else np.empty(self.shape, self.dtype)


def lazy_array(location: str, array: Rows) -> LazyArray:
    """Return an array that is in memory, or mapped from a file.

    >>> list(lazy_array("x", np.arange(3)).blocks())
    [array([0, 1, 2])]
    """
    return LazyArray(location=location, shape=array.shape, dtype=array.dtype, blocks=partial(_slices, array))


def read_npy(files: Files, path: PurePosixPath) -> LazyArray:
    """Return the array of a `.npy` file, mapped from it or, in an archive, read in blocks.

    Raises:
        DataError: The file is damaged. One with pickled objects is not read: `refuse_objects` names it.
    """
    location, where = path.as_posix(), f"{files.location}/{path}"
    try:
        with files.open(path) as file:
            header = _header(file)
        handle = files.handle(path)
        if header.dtype.hasobject:
            array = _objects(location, header)
        elif isinstance(handle, Path):
            array = lazy_array(location, np.load(handle, mmap_mode="r", allow_pickle=False))
        else:
            handle.close()
            array = _read_array(location, partial(files.open, path), header, files.size(path))
    except DAMAGE as error:
        raise damaged(where, error) from error
    return replace(array, file=where)


def read_npz(files: Files, path: PurePosixPath) -> dict[str, LazyArray]:
    """Return the arrays of a `.npz` file by name. Their rows are unpacked when they are read.

    Raises:
        DataError: The file is damaged, or unpacks to far more than it holds.
    """
    where = f"{files.location}/{path}"
    try:
        with files.open(path) as file, zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if each.filename.endswith(".npy")]
            if len(members) > _MAX_MEMBERS or len({each.filename for each in members}) < len(members):
                raise ValueError(f"{len(members):,} arrays, or two of one name")
            arrays = [_member(partial(files.open, path), archive, each) for each in members]
    except DAMAGE as error:
        raise damaged(where, error) from error
    return {each.location: replace(each, file=where) for each in arrays}


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
                where=each.where,
                fix="write numbers: np.savez(path, x_train=np.stack(images), y_train=np.array(labels)); "
                "images of several sizes as files in class folders",
            )


def _member(source: Open, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> LazyArray:
    location = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        header = _header(file)
    if header.dtype.hasobject:
        return _objects(location, header)
    if member.file_size > max(_HARMLESS, _MAX_RATIO * member.compress_size):
        raise ValueError(
            f"{location}: {member.compress_size:,} bytes of the file become {member.file_size:,}"
        )
    opened = partial(_opened_member, source, member.filename)
    return _read_array(location, opened, header, member.file_size)


@contextmanager
def _opened_member(source: Open, name: str) -> Iterator[IO[bytes]]:
    with source() as outer, zipfile.ZipFile(outer) as archive, archive.open(name) as file:
        yield file


class _Header(NamedTuple):
    """The header of an array, and where its rows start in the file."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int


def _read_array(location: str, source: Open, header: _Header, size: int) -> LazyArray:
    """Return an array that is read from a file of a size."""
    shape, is_fortran, dtype, start = header
    needed = math.prod(shape) * dtype.itemsize
    if needed != size - start:
        raise ValueError(f"{location}: {size - start:,} bytes for {dtype} of shape {shape}")
    is_whole = is_fortran and len(shape) > 1
    if is_whole and needed > _MAX_WHOLE:
        raise ValueError(f"{location}: {needed:,} bytes in Fortran's order; write np.ascontiguousarray(x)")
    read = partial(_fortran_rows if is_whole else _file_rows, source, shape, dtype)
    return LazyArray(location=location, shape=shape, dtype=dtype, blocks=read)


def _objects(location: str, header: _Header) -> LazyArray:
    return LazyArray(location=location, shape=header.shape, dtype=header.dtype, blocks=lambda: iter(()))


def _header(file: IO[bytes]) -> _Header:
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
    return _Header(shape, is_fortran, dtype, file.tell())


def _file_rows(source: Open, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Rows]:
    rest, row = shape[0] if shape else 0, math.prod(shape[1:]) * dtype.itemsize
    with source() as file:
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


def _fortran_rows(source: Open, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Rows]:
    with source() as file:
        _header(file)
        content = file.read()
    yield from _slices(np.frombuffer(content, dtype).reshape(shape, order="F"))


def _slices(array: Rows) -> Iterator[Rows]:
    row = array[:1].nbytes
    step = max(1, _BLOCK // max(row, 1))
    for start in range(0, len(array), step):
        yield array[start : start + step]
