"""Ask the file system about a path: names that cannot exist are absent, and missing permissions are errors.

`pathlib` raises for a name that is too long, and for a folder that may not be searched. Here the first is
a path that does not exist, whatever a user wrote, and the second a `FileError`.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from convsmith.errors import FileError

# EINVAL: a name with characters that Windows does not allow.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
_MAX_LINKS = 40


def status(path: Path) -> os.stat_result | None:
    """Return the status of a path, links followed; None if there is nothing.

    Raises:
        FileError: The permissions do not allow to look.
    """
    try:
        return path.stat()
    # A null character, or a lone surrogate in a locale without them.
    except ValueError:
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise read_error(path, error) from error


def exists(path: Path) -> bool:
    """Return whether a path exists. Raises as `status`."""
    return status(path) is not None


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file. Raises as `status`."""
    return (found := status(path)) is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder. Raises as `status`."""
    return (found := status(path)) is not None and stat.S_ISDIR(found.st_mode)


def children(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted.

    Raises:
        FileError: It cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        raise read_error(folder, error) from error


def read_error(path: Path, error: Exception) -> FileError:
    """Return the error for a path that cannot be read."""
    return FileError(
        f"cannot read: {getattr(error, 'strerror', None) or error}",
        where=str(path),
        fix="check the path and its permissions",
    )


def descriptor(path: Path) -> int | None:
    """Return the number of the open file of this process that a path such as /dev/stdout leads to."""
    for _ in range(_MAX_LINKS):
        if path.name.isdecimal() and _lists_descriptors(path.parent):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _lists_descriptors(folder: Path) -> bool:
    return re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd|/dev/fd", os.path.realpath(folder)) is not None


def is_stream(path: Path) -> bool:
    """Return whether what is written to a path flows on: a device, a pipe, or an open file of this process.

    Raises:
        FileError: The permissions do not allow to look.
    """
    found = status(path)
    if found is None:
        return False
    regular = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return not regular or descriptor(path) is not None


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Check, before any work, that each output can be a file, written once, that the command does not read.

    Args:
        outputs: Files to be written. What flows on, such as a pipe, may be named twice.
        inputs: Files to be read; those that do not exist are ignored.

    Raises:
        FileError: An output is a folder or read-only, or an input; or two outputs are the same file.
    """
    written: dict[object, Path] = {}
    for path in outputs:
        if is_folder(path):
            raise FileError("this is a folder, expected a file", where=str(path), fix="name a file in it")
        if exists(path) and not os.access(path, os.W_OK):
            fix = "name another file, or permit writing to this one"
            raise FileError("cannot write: Permission denied", where=str(path), fix=fix)
        if not is_stream(path):
            if (other := written.get(_identity(path))) is not None:
                where = f"{other}, {path}"
                raise FileError("both would be written to one file", where=where, fix="name two files")
            written[_identity(path)] = path
    for path in inputs if written else ():
        if exists(path) and (target := written.get(_identity(path))) is not None:
            raise FileError("the command reads this file", where=str(target), fix="name another file")


def _identity(path: Path) -> object:
    """Return what two names of one file have in common."""
    found = status(path)
    return (found.st_dev, found.st_ino) if found else os.path.realpath(path)
