"""Images that lie together: a file, a URL, rows of a parquet file, or a part of an archive or an IDX file."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from pathlib import Path, PurePosixPath
from typing import Self

from convsmith.data.arrays.idx import IdxImages, idx_images, is_idx_images
from convsmith.data.files.storage import ArchiveFiles, SingleFile, image_files
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.system import paths
from convsmith.system.archives import is_archive_name
from convsmith.system.download import TransferError, download, without_password
from convsmith.system.stamps import FileStamp, stamp_of

# Limits for a URL or standard input, in bytes and in seconds.
MAX_BYTES = 64 * 1024**2
TIMEOUT = 20.0
STDIN = "-"
_LACKING = UnusableImageError("unreadable", "the file is damaged: it has fewer rows than its header says")


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """One image: its name, and a function that returns it, encoded or as pixels."""

    name: str
    read: Callable[[], Encoded]


@dataclass(frozen=True)
class ImageBlock:
    """Images that lie together.

    Attributes:
        location: A file, as the user named it or its folder; an http(s) URL; or `-` for standard input.
        start: The first row of a parquet file, or image of an archive or an IDX file; 0 for another file.
        stop: The one after the last; 1 for another file.
        column: Of a parquet file, with the images; empty for another file.
        root: The folder that paths in a parquet file are relative to; empty for that of the file.
    """

    location: str
    start: int = 0
    stop: int = 1
    column: str = ""
    root: str = ""

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_file(self) -> bool:
        """Whether the images are in a file, which can be read again."""
        return self.location != STDIN and not is_url(self.location)

    def part(self, start: int, stop: int) -> Self:
        """Return some of the images, counted from the first of this block."""
        return type(self)(self.location, self.start + start, self.start + stop, self.column, self.root)

    def sources(self, folder: Path | None = None) -> Iterator[ImageSource]:
        """Yield the images in order. They are read on demand, those of a parquet file or archive in order.

        Args:
            folder: The folder that locations are relative to; by default the working directory.

        Raises:
            DataError: An archive is damaged.
        """
        path = Path(self.location) if folder is None else folder / self.location
        if not self.is_file:
            yield ImageSource(name=self._name(), read=partial(_read_stream, self.location))
        elif self.column:
            for row, image in zip(range(self.start, self.stop), self._rows(path, folder), strict=True):
                yield ImageSource(name=self._name(f"row {row}"), read=partial(_read_content, image))
        elif is_archive_name(self.location):
            files, members = _archive(path, stamp_of(path.stat()))
            chosen = members[self.start : self.stop]
            for member, image in zip(chosen, files.images(chosen), strict=True):
                yield ImageSource(name=self._name(str(member)), read=partial(_read_content, image))
        elif is_idx_images(path):
            images = islice(_idx(path), self.start, self.stop)
            for number, image in enumerate(images, start=self.start):
                yield ImageSource(name=self._name(f"image {number}"), read=partial(_read_content, image))
        else:
            yield ImageSource(name=self._name(), read=partial(_read_content, str(path)))

    def _rows(self, path: Path, folder: Path | None) -> Iterator[Encoded | UnusableImageError]:
        from convsmith.data.hub.parquet import row_images

        root = Path(self.root or path.parent)
        files = SingleFile(path, root if folder is None else folder / root)
        images = row_images(files, str(files.files[0]), self.column, range(self.start, self.stop))
        return islice(chain(images, repeat(_LACKING)), len(self))

    def _name(self, part: str = "") -> str:
        shown = without_password(self.location) if is_url(self.location) else self.location
        return f"{shown}, {part}" if part else shown


def table_block(path: Path, root: Path | None = None, column: str | None = None) -> ImageBlock:
    """Return the images of a parquet file.

    Args:
        path: The file.
        root: The folder that paths in it are relative to; by default that of the file.
        column: The column with the images; by default the only one of this type.

    Raises:
        DataError: It is damaged, or the column is missing or ambiguous.
    """
    from convsmith.data.hub.parquet import image_rows

    files = SingleFile(path, root)
    column, count = image_rows(files, str(files.files[0]), column)
    return ImageBlock(str(path), 0, count, column, str(root or ""))


def archive_block(path: Path) -> ImageBlock:
    """Return the images of a zip or tar archive.

    Raises:
        DataError: It is damaged, or not safe to read.
    """
    try:
        _, members = _archive(path, stamp_of(path.stat()))
    except OSError as error:
        raise paths.read_error(path, error) from error
    return ImageBlock(str(path), 0, len(members))


def idx_block(path: Path) -> ImageBlock:
    """Return the images of an IDX file, such as `t10k-images-idx3-ubyte.gz`.

    Raises:
        DataError: It is damaged.
    """
    return ImageBlock(str(path), 0, len(_idx(path)))


def _idx(path: Path) -> IdxImages:
    files = SingleFile(path)
    return idx_images(files, files.files[0])


@lru_cache(maxsize=1)
def _archive(path: Path, stamp: FileStamp) -> tuple[ArchiveFiles, list[PurePosixPath]]:
    """Return an archive with its images: in order, or in that of the archive if others would be slow."""
    del stamp
    files = ArchiveFiles(path)
    return files, sorted(image_files(files), key=lambda member: (files.order(member), member))


def _read_content(image: Encoded | UnusableImageError) -> Encoded:
    if isinstance(image, UnusableImageError):
        raise image
    return image


def is_url(text: str) -> bool:
    """Return whether a text is an http(s) URL."""
    return text.lower().startswith(("http://", "https://"))


def _read_stream(location: str) -> bytes:
    if location == STDIN:
        return _limited(sys.stdin.buffer.read(MAX_BYTES + 1))
    return fetch(location)


def fetch(url: str, *, timeout: float = TIMEOUT, limit: int = MAX_BYTES) -> bytes:
    """Download an http(s) URL; see `system.download`.

    Raises:
        UnusableImageError: The server cannot be reached, returns an error, is too slow, or sends too much.
    """
    try:
        return download(url, timeout=timeout, limit=limit)
    except TransferError as error:
        raise UnusableImageError("oversized" if error.too_large else "unreadable", str(error)) from error


def _limited(content: bytes | bytearray, limit: int = MAX_BYTES) -> bytes:
    if len(content) > limit:
        raise UnusableImageError("oversized", f"more than {limit:,} bytes")
    return content  # type: ignore[return-value]
