"""The files of a data set, wherever they are: their paths relative to it, and their contents."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Protocol, overload

from convsmith.data.files.listing import is_image_name, name_reason, walk
from convsmith.data.images.decode import MAX_BYTES, Encoded, UnusableImageError
from convsmith.data.raw import TextArray
from convsmith.errors import DataError, FileError
from convsmith.system import archives, paths, reading
from convsmith.system.archives import Archive, ArchiveError
from convsmith.system.folders import expand_user
from convsmith.system.member_files import MemberFiles


class Files(Protocol):
    """The files of a data set. All paths are relative to it.

    Attributes:
        location: The folder or archive, for errors.
        files: Sorted, without what is skipped.
        folders: All folders that hold something, sorted, those of empty folders included.
        skipped: Files and folders that are not read, with the reason.
        most_parts: As that of `RawSplit`.
    """

    location: str
    most_parts: int | None
    files: tuple[PurePosixPath, ...]
    folders: tuple[PurePosixPath, ...]
    skipped: dict[PurePosixPath, str]

    def unread_reason(self, path: PurePosixPath) -> str | None:
        """Return why a file is never read, whatever its name; None if it can be read."""
        ...

    def images(self, paths: Sequence[PurePosixPath]) -> Collection[Encoded | UnusableImageError]:
        """Return images, in this order. Each iteration reads them again."""
        ...

    def order(self, path: PurePosixPath) -> int:
        """Return a number by which files should be sorted before they are read one after another."""
        ...

    def table(self, name: str) -> PurePosixPath | None:
        """Return the path of a table that a recipe names, in the source or absolute; None without one."""
        ...

    def read(self, path: PurePosixPath, limit: int) -> bytes:
        """Return the content of a file of the source, or of an absolute path.

        Raises:
            FileError: It cannot be read, or has more than `limit` bytes.
        """
        ...

    def named_image(self, path: str) -> Encoded | UnusableImageError:
        """Return the image that a text in a table names, only if it is one of these files."""
        ...

    def size(self, path: PurePosixPath) -> int:
        """Return the size of a file in bytes. Raises OSError if it cannot be read."""
        ...

    def prepare(self, paths: Sequence[PurePosixPath]) -> None:
        """Make files ready to be opened, those of a compressed tar archive in one pass. Raises as `open`."""
        ...

    def open(self, path: PurePosixPath) -> IO[bytes]:
        """Return a file that can be read at any place.

        Raises:
            OSError: It cannot be read.
            ArchiveError: The archive is damaged there, or the file is too large to be read.
        """
        ...

    def handle(self, path: PurePosixPath) -> Path | IO[bytes]:
        """Return what a library opens the file by: its path, if it has one. Raises as `open`."""
        ...


class FolderFiles:
    """The files of a folder, and of the folders in it.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.most_parts: int | None = None
        self.root, self.location = root, str(root)
        files: list[PurePosixPath] = []
        folders: list[PurePosixPath] = []
        self.skipped: dict[PurePosixPath, str] = {}
        for entry in walk(root):
            path = self._relative(entry.path)
            if entry.reason:
                self.skipped[path] = entry.reason
            else:
                (folders if entry.is_folder else files).append(path)
        # As the system sorts paths: on Windows without regard to case.
        key = None if os.name == "posix" else PurePath
        self.files, self.folders = tuple(sorted(files, key=key)), tuple(sorted(folders, key=key))
        self._unread: dict[PurePosixPath, str | None] = {}

    def unread_reason(self, path: PurePosixPath) -> str | None:
        if path not in self._unread:
            file = self.root / path
            if paths.is_file(file):
                self._unread[path] = None
            else:
                is_broken = file.is_symlink() and not paths.exists(file)
                self._unread[path] = "a broken link" if is_broken else "not a regular file"
        return self._unread[path]

    def images(self, paths: Sequence[PurePosixPath]) -> "FileImages":
        return FileImages(self.root, TextArray(map(str, paths)))

    def order(self, path: PurePosixPath) -> int:
        del path
        return 0

    def table(self, name: str) -> PurePosixPath | None:
        return _table(name, self.files, self.root)

    def read(self, path: PurePosixPath, limit: int) -> bytes:
        return reading.read_bytes(self.root / path, limit)

    def named_image(self, path: str) -> str | UnusableImageError:
        """Return the path of an image; only of a file that is listed, whose changes the cache notices."""
        try:
            resolved, root = (self.root / path).resolve(), self.root.resolve()
        # NUL and lone surrogates, names that are too long, links in circles.
        except (OSError, ValueError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return _unusable(f"and its path cannot be used: {reason}")
        if not resolved.is_relative_to(root):
            return _unusable(f"only a path outside the data set: {path}")
        # A link can lead to a hidden folder.
        ways = (Path(os.path.relpath(self.root / path, self.root)), resolved.relative_to(root))
        if all(any(map(name_reason, way.parts)) for way in ways):
            return _unusable(f"only the path of a hidden file: {path}")
        return str(self.root / path)

    def size(self, path: PurePosixPath) -> int:
        return (self.root / path).stat().st_size

    def prepare(self, paths: Sequence[PurePosixPath]) -> None:
        del paths

    def open(self, path: PurePosixPath) -> IO[bytes]:
        return (self.root / path).open("rb")

    def handle(self, path: PurePosixPath) -> Path:
        return self.root / path

    def _relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.root).as_posix())


class FileImages(Sequence[str]):
    """Images that are files, by their paths, which are joined on access.

    Args:
        root: The folder that paths are relative to.
        paths: Of each image.
    """

    def __init__(self, root: Path, paths: TextArray) -> None:
        self.root, self.paths = root, paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [str(self.root / path) for path in self.paths[key]]
        return str(self.root / self.paths[key])


class SingleFile(FolderFiles):
    """A file alone, such as a `.npz` file, whatever is beside it.

    Args:
        file: The file.
        root: A folder above it that its path, and paths in it, are relative to; by default the nearest.
    """

    def __init__(self, file: Path, root: Path | None = None) -> None:
        self.root = root or file.parent
        self.location = str(self.root)
        self.files, self.folders, self.skipped = (self._relative(file),), (), {}
        self.most_parts = None
        self._unread = {}


class ArchiveFiles:
    """The files of a zip or tar archive, which is read without unpacking it.

    Raises:
        DataError: The archive is damaged, exceeds a limit, or has a member that is not safe to read: its path
            leads out of the archive, or it is a link, a device, encrypted, an archive itself, or there twice.
    """

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        try:
            self.archive = archives.open_archive(path)
        except OSError as error:
            raise paths.read_error(path, error) from error
        except ArchiveError as error:
            fix = "unpack it with a program that you trust, and name the folder, or pack it again"
            raise DataError(str(error), where=self.location, fix=fix) from error
        self._members = MemberFiles(self.archive)
        # Each part reads the directory, or unpacks everything before it.
        self.most_parts: int | None = 4 if self.archive.is_sequential else 32
        self.skipped: dict[PurePosixPath, str] = {}
        files = [path for path in self.archive.members if not self._skip(path)]
        self._check_nested(files)
        self.files = tuple(sorted(files))
        listed = [path for path in self.archive.folders if path.parts and not self._skip(path)]
        every = {parent for path in files for parent in path.parents} | set(listed)
        every |= {parent for path in listed for parent in path.parents}
        self.folders = tuple(sorted(path for path in every if path.parts))

    def unread_reason(self, path: PurePosixPath) -> str | None:
        del path
        return None

    def images(self, paths: Sequence[PurePosixPath]) -> "ArchiveImages":
        return ArchiveImages(archive=self.archive, paths=tuple(paths))

    def order(self, path: PurePosixPath) -> int:
        return self.archive.members[path].offset if self.archive.is_sequential else 0

    def table(self, name: str) -> PurePosixPath | None:
        return _table(name, self.files, Path(self.location).parent)

    def read(self, path: PurePosixPath, limit: int) -> bytes:
        if path.is_absolute():
            return reading.read_bytes(Path(path), limit)
        (content,) = self.archive.contents([path], limit)
        if isinstance(content, ArchiveError):
            raise FileError(f"cannot read: {content}", where=f"{self.location}, {path}")
        return content

    def named_image(self, path: str) -> Encoded | UnusableImageError:
        member = PurePosixPath(path.replace("\\", "/"))
        if member not in self.archive.members or any(map(name_reason, member.parts)):
            return _unusable(f"only the path of a file that the archive does not have: {path}")
        return next(iter(self.images([member])))

    def size(self, path: PurePosixPath) -> int:
        return self.archive.members[path].size

    def prepare(self, paths: Sequence[PurePosixPath]) -> None:
        self._members.prepare(paths)

    def open(self, path: PurePosixPath) -> IO[bytes]:
        return self._members.open(path)

    def handle(self, path: PurePosixPath) -> IO[bytes]:
        return self._members.open(path)

    def _skip(self, path: PurePosixPath) -> bool:
        """Return whether a file is skipped; its outermost folder that is skipped counts once."""
        for depth, part in enumerate(path.parts):
            if reason := name_reason(part):
                self.skipped[PurePosixPath(*path.parts[: depth + 1])] = reason
                return True
        return False

    def _check_nested(self, files: Sequence[PurePosixPath]) -> None:
        names = (*archives.SUFFIXES, *archives.FOREIGN_SUFFIXES)
        nested = [str(path) for path in files if path.name.lower().endswith(names)]
        if nested:
            raise DataError(
                f"the member {nested[0]!r} is an archive itself",
                where=self.location,
                fix=f"unpack {self.location}, and name the folder, or one of the archives in it",
            )


@dataclass(frozen=True, kw_only=True)
class ArchiveImages:
    """Images of an archive, in order. Each iteration reads them from the archive."""

    archive: Archive
    paths: tuple[PurePosixPath, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        return self.part(0, len(self.paths))

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        chosen = self.paths[start:stop]
        for path, content in zip(chosen, self.archive.contents(chosen, MAX_BYTES), strict=True):
            if not isinstance(content, ArchiveError):
                yield content
            else:
                is_large = self.archive.members[path].size > MAX_BYTES
                yield UnusableImageError("oversized" if is_large else "unreadable", str(content))


def _unusable(what: str) -> UnusableImageError:
    return UnusableImageError("unreadable", f"no image, {what}")


def _table(name: str, files: Sequence[PurePosixPath], folder: Path) -> PurePosixPath | None:
    file = expand_user(name)
    if not file.is_absolute() and (path := PurePosixPath(name)) in files:
        return path
    file = (folder / file).resolve()
    return PurePosixPath(file.as_posix()) if paths.is_file(file) else None


def image_files(files: Files) -> list[PurePosixPath]:
    """Return the files with the suffix of an image that can be read."""
    return [path for path in files.files if is_image_name(path) and not files.unread_reason(path)]


def ignored_reason(files: Files, path: PurePosixPath) -> str | None:
    """Return why a file is no image; None if it may be one."""
    if reason := files.unread_reason(path):
        return reason
    if not is_image_name(path):
        return f"not an image: {f'suffix {path.suffix}' if path.suffix else 'no suffix'}"
    return None
