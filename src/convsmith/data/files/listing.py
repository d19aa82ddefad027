"""The files below a folder, and what is skipped: hidden files, metadata of systems, links in circles."""

import os
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


def list_folder(folder: Path) -> Listing:
    """List a folder. Links to folders are followed, except to a folder that they are in.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    found: list[Path] = []
    folders: list[Path] = []
    skipped: dict[Path, str] = {}
    # The folders that a link was followed from; a link back to one of them would never end.
    sources: dict[str, tuple[str, ...]] = {}
    try:
        for top, names, files in os.walk(folder, followlinks=True, onerror=_raise):
            _check_readable(top)
            chain = (*sources.pop(top, ()), os.path.realpath(top))
            reasons = {
                name: reason for name in (*names, *files) if (reason := _skip_reason(top, name, chain))
            }
            skipped |= {Path(top, name): reason for name, reason in reasons.items()}
            names[:] = [name for name in names if name not in reasons]
            sources |= {os.path.join(top, name): chain for name in names}  # noqa: PTH118 - as os.walk does
            folders += [Path(top, name) for name in names]
            found += [Path(top, name) for name in files if name not in reasons]
    except OSError as error:
        raise DataError(
            f"cannot be listed: {error.strerror}",
            where=str(error.filename or folder),
            fix="permit reading it, or move it out of the folder",
        ) from error
    return Listing(files=tuple(sorted(found)), folders=tuple(sorted(folders)), skipped=skipped)


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


def _skip_reason(top: str, name: str, chain: tuple[str, ...]) -> str | None:
    path = os.path.join(top, name)  # noqa: PTH118 - called for every file
    if reason := name_reason(name):
        return reason
    if os.path.islink(path) and os.path.isdir(path):  # noqa: PTH112, PTH114
        target = os.path.realpath(path).rstrip(os.sep) + os.sep
        if any((real + os.sep).startswith(target) for real in chain):
            return "a link to a folder that it is in"
    return None


def _check_readable(folder: str) -> None:
    # Names can be listed without this permission, but every file would seem to be missing.
    if not os.access(folder, os.X_OK):
        raise PermissionError(13, os.strerror(13), folder)


def _raise(error: OSError) -> None:
    raise error
