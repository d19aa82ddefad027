"""The files of a data set, wherever they are: their paths relative to it, and their contents."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from convsmith.data.decode import Encoded, UnusableImageError
from convsmith.data.listing import SUFFIXES, list_folder
from convsmith.system import paths, reading


class Files(Protocol):
    """The files of a data set. All paths are relative to it.

    Attributes:
        location: The folder or archive, for errors.
        files: Sorted, without what is skipped.
        folders: All folders that hold something, sorted, those of empty folders included.
        skipped: Files and folders that are not read, with the reason.
    """

    location: str
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

    def read(self, path: PurePosixPath, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            FileError: It cannot be read, or has more than `limit` bytes.
        """
        ...


class FolderFiles:
    """The files of a folder, and of the folders in it.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        listing = list_folder(root)
        self.root, self.location = root, str(root)
        self.files = tuple(map(self._relative, listing.files))
        self.folders = tuple(map(self._relative, listing.folders))
        self.skipped = {self._relative(path): reason for path, reason in listing.skipped.items()}

    def unread_reason(self, path: PurePosixPath) -> str | None:
        file = self.root / path
        if file.is_symlink() and not paths.exists(file):
            return "a broken link"
        return None if paths.is_file(file) else "not a regular file"

    def images(self, paths: Sequence[PurePosixPath]) -> list[Encoded | UnusableImageError]:
        return [str(self.root / path) for path in paths]

    def order(self, path: PurePosixPath) -> int:
        del path
        return 0

    def read(self, path: PurePosixPath, limit: int) -> bytes:
        return reading.read_bytes(self.root / path, limit)

    def _relative(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path.relative_to(self.root).as_posix())


def image_files(files: Files) -> list[PurePosixPath]:
    """Return the files with the suffix of an image that can be read."""
    return [path for path in files.files if path.suffix.lower() in SUFFIXES and not files.unread_reason(path)]


def ignored_reason(files: Files, path: PurePosixPath) -> str | None:
    """Return why a file is no image; None if it may be one."""
    if reason := files.unread_reason(path):
        return reason
    if path.suffix.lower() not in SUFFIXES:
        return f"not an image: {f'suffix {path.suffix}' if path.suffix else 'no suffix'}"
    return None
