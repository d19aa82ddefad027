"""The files below a folder, and what is skipped: hidden files, metadata of systems, links in circles."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from convsmith.errors import DataError
from convsmith.system import paths

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)
# Files and folders that operating systems, NAS boxes and Python write beside images.
_METADATA = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}
    | {"system volume information", "__pycache__"}
)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The contents of a folder, sub-folders included.

    Attributes:
        files: Sorted, without what is skipped.
        folders: All sub-folders that were entered, empty ones included.
        skipped: Files and folders that were not entered, with the reason.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    skipped: dict[Path, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder below a folder.

    Attributes:
        path: That of the folder, continued.
        is_folder: Whether it is a folder, or a link to one.
        reason: Why it is skipped; empty if it is not.
    """

    path: Path
    is_folder: bool
    reason: str


def walk(folder: Path) -> Iterator[Entry]:
    """Yield the files and folders below a folder, sorted, with one folder at a time in memory.

    Links to folders are followed, except to a folder that they are in.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    # The open folders, each with the folders that it is in, links resolved: a link back would never end.
    levels: list[tuple[Iterator[Entry], tuple[str, ...]]] = []
    try:
        levels.append(_entries(folder, ()))
        while levels:
            entries, chain = levels[-1]
            for entry in entries:
                yield entry
                if entry.is_folder and not entry.reason:
                    levels.append(_entries(entry.path, chain))
                    break
            else:
                levels.pop()
    except OSError as error:
        raise DataError(
            f"cannot be listed: {error.strerror}",
            where=str(error.filename or folder),
            fix="permit reading it, or move it out of the folder",
        ) from error


def list_folder(folder: Path) -> Listing:
    """List a folder, as `walk` does.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    files: list[Path] = []
    folders: list[Path] = []
    skipped: dict[Path, str] = {}
    for entry in walk(folder):
        if entry.reason:
            skipped[entry.path] = entry.reason
        else:
            (folders if entry.is_folder else files).append(entry.path)
    return Listing(files=tuple(sorted(files)), folders=tuple(sorted(folders)), skipped=skipped)


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted, as `list_folder` does.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    return list(list_folder(folder).files)


def is_image_name(path: PurePath) -> bool:
    """Return whether a file has the suffix of an image.

    >>> is_image_name(PurePath("cat.JPG")), is_image_name(PurePath("cat.txt"))
    (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def is_image(path: Path) -> bool:
    """Return whether a path is a regular file with the suffix of an image."""
    return is_image_name(path) and paths.is_file(path)


def name_reason(name: str) -> str | None:
    """Return why a file or folder of this name is skipped, if it is.

    >>> name_reason(".git"), name_reason("Thumbs.db"), name_reason("cat.png")
    ('hidden', 'metadata of the system', None)
    """
    if name.startswith("."):
        return "hidden"
    return "metadata of the system" if name.lower() in _METADATA else None


def _entries(folder: Path, chain: tuple[str, ...]) -> tuple[Iterator[Entry], tuple[str, ...]]:
    """Return the sorted entries of a folder, and the chain of folders that ends with it."""
    chain = (*chain, os.path.realpath(folder))
    with os.scandir(folder) as scan:
        names = sorted((each.name, _is_folder(each)) for each in scan)
    _check_readable(folder)
    return (
        Entry(folder / name, is_folder, _skip_reason(folder, name, chain) or "") for name, is_folder in names
    ), chain


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    # A link in a circle.
    except OSError:
        return False


def _skip_reason(top: Path, name: str, chain: tuple[str, ...]) -> str | None:
    path = os.path.join(top, name)  # noqa: PTH118 - called for every file
    if reason := name_reason(name):
        return reason
    if os.path.islink(path) and os.path.isdir(path):  # noqa: PTH112, PTH114
        target = os.path.realpath(path).rstrip(os.sep) + os.sep
        if any((real + os.sep).startswith(target) for real in chain):
            return "a link to a folder that it is in"
    return None


def _check_readable(folder: Path) -> None:
    # Names can be listed without this permission, but every file would seem to be missing.
    if not os.access(folder, os.X_OK):
        raise PermissionError(13, os.strerror(13), str(folder))
