"""Create folders: numbered, atomic and temporary ones; check a destination before long work."""

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convsmith.errors import FileError
from convsmith.system import files, locks

_SCRATCH, _LOCK = ".scratch-", ".lock"


def check_destination(folder: Path, needed: int = 0) -> None:
    """Check that a folder, which need not exist yet, can be written to.

    Args:
        folder: The destination.
        needed: About how many bytes will be written.

    Raises:
        FileError: It is a file, is not writable, its name is too long, or its disk is too full.
    """
    try:
        existing = _nearest_folder(folder.absolute())
        # Permissions, read-only disks and quotas are the system's to judge.
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except (OSError, ValueError) as error:
        raise files.write_error(folder, error) from error
    if free < needed:
        raise FileError(
            f"not enough disk space: needed about {needed:,} bytes, free are {free:,}",
            where=str(folder),
            fix="make room, or name a folder on another disk",
        )


def _nearest_folder(path: Path) -> Path:
    """Return the folder, or its nearest parent that exists. Raises OSError if that is no folder."""
    nearest = path
    while True:
        try:
            nearest.lstat()
        except FileNotFoundError:
            nearest = nearest.parent
        else:
            break
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    # Windows has no `pathconf`.
    longest = os.pathconf(nearest, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if any(len(os.fsencode(part)) > longest for part in path.parts):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return nearest


def new_numbered_folder(parent: Path, name: str) -> Path:
    """Create `parent/name-N` with the next free number. Safe with concurrent processes.

    Raises:
        FileError: `parent` is a file or is not writable.
    """
    files.make_folder(parent)
    try:
        numbers = [
            int(n) for p in parent.glob(f"{name}-*") if (n := p.name.removeprefix(f"{name}-")).isdecimal()
        ]
        number = max(numbers, default=0)
        while True:
            number += 1
            folder = parent / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise files.write_error(parent, error) from error


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder that becomes `target` when the block ends without an exception.

    If another process has created `target` meanwhile, that one stays: both hold the same content.
    """
    with scratch_folder(target.parent, name=target.name) as temporary:
        yield temporary
        try:
            temporary.chmod(0o755)
            if not target.exists():
                temporary.rename(target)
                files.sync_folder(target.parent)
        except OSError as error:
            if not target.exists():
                raise files.write_error(target, error) from error


@contextlib.contextmanager
def scratch_folder(parent: Path, *, name: str) -> Iterator[Path]:
    """Create a temporary folder for the block; remove those that killed processes left in `parent`.

    Raises:
        FileError: `parent` is not writable.
    """
    files.make_folder(parent)
    _remove_abandoned(parent)
    folder = parent / f"{_SCRATCH}{name}.{secrets.token_hex(4)}"
    # Locked before it exists: a scratch folder without a lock has lost its process.
    with locks.lock_file(_lock_of(folder), wait=True):
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise files.write_error(parent, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for folder in {path.with_name(path.name.removesuffix(_LOCK)) for path in parent.glob(f"{_SCRATCH}*")}:
        with contextlib.suppress(FileError), locks.lock_file(_lock_of(folder)) as abandoned:
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)
