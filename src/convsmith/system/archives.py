"""Zip and tar archives of untrusted origin: listed within limits, and read without unpacking them."""

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

# Names of archives that are read.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# Names of archives that are not.
FOREIGN_SUFFIXES = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")
# Far more than data sets have, and still cheap to list.
MAX_MEMBERS, MAX_DEPTH, MAX_NAME = 2_000_000, 64, 4096
# Images are compressed already: what grows by more than this, beyond a size that is harmless, is made to
# exhaust the memory or the time.
MAX_RATIO, HARMLESS_BYTES = 200, 2**30
_MAX_DIRECTORY, _MAX_HEADER = 2**29, 2**24
_ZIP_HEADER, _BUFFER = 30, 2**20
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


class ArchiveError(ValueError):
    """An archive, or a member of it, is damaged or not safe to read; the message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file in an archive.

    Attributes:
        offset: In a zip archive that of its header, in a tar archive, once unpacked, that of its content.
        size: In bytes, unpacked.
        is_stored: Whether the bytes of the archive are those of the file.
    """

    offset: int
    size: int
    name: str
    is_stored: bool


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The list of an archive's files and folders; none of its content is in memory.

    Attributes:
        members: Files by path, in the order of the archive.
        is_sequential: Whether it is compressed as a whole, so that files are read in its order, or slowly.
        folders: Those that have an entry of their own; an archive need not list its folders.
    """

    path: Path
    is_zip: bool
    is_sequential: bool
    members: dict[PurePosixPath, Member] = field(repr=False)
    folders: frozenset[PurePosixPath] = field(repr=False)

    def contents(self, paths: Sequence[PurePosixPath], limit: int) -> Iterator[bytes | ArchiveError]:
        """Yield the content of files; an error for one that is damaged or has more than `limit` bytes.

        Compressed tar archives are read from their beginning whenever a file is before the previous one.
        """
        opened: AbstractContextManager[Any] = (
            zipfile.ZipFile(self.path) if self.is_zip else closing(_Stream(self.path))
        )
        with opened as source:
            for path in paths:
                member = self.members[path]
                try:
                    if member.size > limit:
                        raise ArchiveError(f"{member.size:,} bytes, expected at most {limit:,}")
                    yield _content(source, member)
                except _DAMAGE as error:
                    yield error if isinstance(error, ArchiveError) else ArchiveError(_damage(error))

    def streams(self, paths: Sequence[PurePosixPath]) -> Iterator[IO[bytes]]:
        """Yield files one after another, each to be read from its beginning until the next one is taken.

        Compressed tar archives are read from their beginning whenever a file is before the previous one.
        Reading raises ArchiveError for damage; in a zip archive the checksum is compared at the end.
        """
        try:
            opened: AbstractContextManager[Any] = (
                zipfile.ZipFile(self.path) if self.is_zip else closing(_Stream(self.path))
            )
        except _DAMAGE as error:
            raise ArchiveError(_damage(error)) from error
        with opened as source:
            for path in paths:
                with io.BufferedReader(_MemberStream(source, self.members[path]), _BUFFER) as stream:
                    yield stream

    def place(self, path: PurePosixPath) -> tuple[int, int] | None:
        """Return where the bytes of a file are in the archive, offset and size; None if it is compressed.

        Raises:
            ArchiveError: The archive is damaged.
            OSError: It cannot be read.
        """
        member = self.members[path]
        if not member.is_stored or not self.is_zip:
            return (member.offset, member.size) if member.is_stored else None
        with self.path.open("rb") as file:
            file.seek(member.offset)
            header = file.read(_ZIP_HEADER)
        if len(header) < _ZIP_HEADER or not header.startswith(b"PK\x03\x04"):
            raise ArchiveError("the archive is damaged: a member has no header")
        lengths = struct.unpack_from("<2H", header, 26)
        return member.offset + _ZIP_HEADER + sum(lengths), member.size


class _MemberStream(io.RawIOBase):
    """The content of a member, from its beginning to its end; damage raises ArchiveError."""

    def __init__(self, source: Any, member: Member) -> None:
        self._source, self._member, self._rest = source, member, member.size
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        size = min(len(buffer), self._rest)
        try:
            content = self._opened().read(size)
        except _DAMAGE as error:
            raise error if isinstance(error, ArchiveError) else ArchiveError(_damage(error)) from error
        if size and not content:
            raise ArchiveError(f"the archive ends {self._rest:,} bytes before the end of the file")
        self._rest -= len(content)
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if isinstance(self._source, zipfile.ZipFile) and self._file is not None:
            self._file.close()
        super().close()

    def _opened(self) -> Any:
        if self._file is None and isinstance(self._source, zipfile.ZipFile):
            self._file = self._source.open(self._member.name)
        elif self._file is None:
            self._source.seek(self._member.offset)
            self._file = self._source
        return self._file


def is_archive_name(name: str) -> bool:
    """Return whether a file is named like an archive that is read.

    >>> [is_archive_name(name) for name in ("photos.ZIP", "photos.tar.gz", "labels.gz", "photos.7z")]
    [True, True, False, False]
    """
    return name.lower().endswith(SUFFIXES)


def open_archive(path: Path) -> Archive:
    """List an archive, and check every member. An archive that did not change is listed once.

    Raises:
        ArchiveError: It is damaged or encrypted, holds links, devices, two files of one name or paths that
            lead out of it, or exceeds a limit; the message names the member.
        OSError: It cannot be read.
    """
    status = path.stat()
    return _listed(path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


@lru_cache(maxsize=2)
def _listed(path: Path, state: tuple[int, ...]) -> Archive:
    size = state[0]
    listing = _Listing()
    with path.open("rb") as file:
        start = file.read(512)
    is_zip = start[:4] in {b"PK\x03\x04", b"PK\x05\x06"}
    is_sequential = any(map(start.startswith, _OPENERS))
    if not (is_zip or is_sequential or start[257:262] == b"ustar"):
        raise ArchiveError("found no zip or tar archive by its content")
    try:
        (_list_zip if is_zip else _list_tar)(path, size, listing)
    except _DAMAGE as error:
        if isinstance(error, ArchiveError):
            raise
        after = f" after the member {listing.last!r}" if listing.last else ""
        raise ArchiveError(f"the archive is damaged{after}: {_reason(error)}") from error
    return Archive(
        path=path,
        is_zip=is_zip,
        is_sequential=is_sequential,
        members=listing.members,
        folders=frozenset(listing.folders),
    )


class _Listing:
    """The members of an archive so far; each is checked when it is added."""

    def __init__(self) -> None:
        self.members: dict[PurePosixPath, Member] = {}
        self.folders: set[PurePosixPath] = set()
        self.last, self.count = "", 0

    def add(self, name: str, *, kind: str, offset: int, size: int, is_stored: bool) -> None:
        """Add a member of a kind: `"file"`, `"folder"`, or what is refused."""
        self.last, self.count = name, self.count + 1
        if self.count > MAX_MEMBERS:
            raise ArchiveError(f"found more than {MAX_MEMBERS:,} members, the last is {name!r}")
        path = _safe_path(name)
        if kind not in {"file", "folder"}:
            raise ArchiveError(f"the member {name!r} is {kind}")
        if kind == "folder":
            self.folders.add(path)
        elif path in self.members or not path.parts:
            raise ArchiveError(f"found two members of the name {name!r}")
        else:
            self.members[path] = Member(offset=offset, size=size, name=name, is_stored=is_stored)

    def check_tree(self) -> None:
        """Raise ArchiveError for a file that is also a folder."""
        parents = {path.parent for path in (*self.members, *self.folders)}
        if both := (self.folders | parents) & set(self.members):
            raise ArchiveError(f"the member {min(map(str, both))!r} is both a file and a folder")


def _safe_path(name: str) -> PurePosixPath:
    """Return the path of a member, which stays inside the archive."""
    # Some programs for Windows write backslashes.
    text = name.replace("\\", "/")
    path = PurePosixPath(text)
    if "\0" in text or len(text) > MAX_NAME or len(path.parts) > MAX_DEPTH:
        raise ArchiveError(f"the member {name[:80]!r} has a name that is too long or too deep")
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", text):
        raise ArchiveError(f"the member {name!r} leads out of the archive")
    return path


def _list_zip(path: Path, size: int, listing: _Listing) -> None:
    _check_directory(path, size)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_sizes(members, size)
        for each in members:
            listing.add(
                each.filename,
                kind=_zip_kind(each),
                offset=each.header_offset,
                size=each.file_size,
                is_stored=each.compress_type == zipfile.ZIP_STORED and each.compress_size == each.file_size,
            )
    listing.check_tree()


def _check_directory(path: Path, size: int) -> None:
    """Check the size of the directory of a zip archive, before it is read into memory."""
    with path.open("rb") as file:
        file.seek(max(0, size - 2**16 - 22))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        raise ArchiveError("the archive is damaged: it has no directory at its end")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    if length == 0xFFFFFFFF and (end64 := tail.rfind(b"PK\x06\x06", 0, end)) >= 0:
        (length,) = struct.unpack_from("<Q", tail, end64 + 40)
    if length > min(size, _MAX_DIRECTORY):
        raise ArchiveError(f"found a directory of {length:,} bytes, expected at most {_MAX_DIRECTORY:,}")


def _check_sizes(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Raise ArchiveError if members overlap, or grow by more than images do."""
    if sum(each.compress_size for each in members) > size:
        largest = max(members, key=lambda each: each.compress_size)
        raise ArchiveError(f"members overlap, the largest is {largest.filename!r}")
    unpacked = sum(each.file_size for each in members)
    if unpacked > max(HARMLESS_BYTES, MAX_RATIO * size):
        largest = max(members, key=lambda each: each.file_size)
        what = f"{size:,} bytes become {unpacked:,}, expected at most {MAX_RATIO} times as many"
        raise ArchiveError(f"{what}; the largest member is {largest.filename!r}")


def _zip_kind(member: zipfile.ZipInfo) -> str:
    # 0: written on a system without these bits.
    kind = (member.external_attr >> 16) & 0o170000
    if member.flag_bits & 1:
        return "encrypted"
    if kind == 0o120000:
        return "a link"
    if kind not in {0, 0o100000, 0o040000}:
        return "a device or a pipe"
    if member.is_dir() or kind == 0o040000:
        return "folder"
    if member.compress_type not in _METHODS:
        return f"compressed by the method {member.compress_type}, which is not read"
    return "file"


def _list_tar(path: Path, size: int, listing: _Listing) -> None:
    del size
    with closing(_Stream(path, most=_MAX_HEADER)) as stream:
        archive = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
        while (each := archive.next()) is not None:
            listing.add(
                each.name,
                kind=_tar_kind(each),
                offset=each.offset_data,
                size=each.size,
                is_stored=not stream.is_compressed,
            )
            # Otherwise every header stays in memory.
            archive.members.clear()  # type: ignore[attr-defined]
        _check_end(stream, archive.offset)
    listing.check_tree()


def _check_end(stream: "_Stream", offset: int) -> None:
    """Raise ArchiveError unless the headers end as they should: `tarfile` stops at a damaged one."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if any(block):
        raise ArchiveError("a header is invalid")
    if len(block) < tarfile.BLOCKSIZE:
        raise ArchiveError("the archive is damaged: it ends without the mark of its end")


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link"
    if member.isdir():
        return "folder"
    if member.sparse is not None:
        return "a sparse file, which is not read"
    if member.isdev():
        return "a device or a pipe"
    return "file" if member.isreg() else "of an unknown type"


class _Stream:
    """The bytes of a tar archive, unpacked, up to a limit that follows from its size.

    Args:
        path: The archive.
        most: The largest number of bytes of one read.
    """

    def __init__(self, path: Path, most: int = 2**31) -> None:
        with path.open("rb") as file:
            start = file.read(6)
        opener = next((each for magic, each in _OPENERS.items() if start.startswith(magic)), None)
        self.file: IO[bytes] = opener(path) if opener else path.open("rb")
        size = path.stat().st_size
        self.is_compressed = opener is not None
        self.limit = max(HARMLESS_BYTES, MAX_RATIO * size) if opener else size
        self.most, self.size = most, size

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.most:
            raise ArchiveError(f"a header of {size:,} bytes, expected at most {self.most:,}")
        self._check(self.file.tell() + size - tarfile.RECORDSIZE)
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check(offset)
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise ArchiveError(
                f"{self.size:,} bytes become more than {self.limit:,}"
                if self.limit > self.size
                else "the archive ends within a member"
            )


def _content(source: Any, member: Member) -> bytes:
    if isinstance(source, zipfile.ZipFile):
        # To the end, where the checksum is compared.
        content = source.read(member.name)
    else:
        source.seek(member.offset)
        content = source.read(member.size)
    if len(content) != member.size:
        raise ArchiveError(f"the archive has {len(content):,} of its {member.size:,} bytes")
    return bytes(content)


def _damage(error: BaseException) -> str:
    return f"the archive is damaged here: {_reason(error)}"


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
