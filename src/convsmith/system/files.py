"""Write files atomically: a reader, or a crash, sees the old content or the new one."""

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tomli_w

from convsmith.errors import FileError
from convsmith.system import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A glob pattern and a regular expression for the names of temporary files.
TEMPORARY_GLOB, TEMPORARY = ".*.tmp", r"\..+\.[0-9a-f]{8}\.tmp"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically.

    Raises:
        FileError: The folder is not writable, or the disk is full.
    """
    temporary = _temporary_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            _commit(file, temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise write_error(path, error, len(content)) from error


def append_text(path: Path, text: str) -> None:
    """Append to a file; create it if it does not exist.

    Raises:
        FileError: The folder is not writable, or the disk is full.
    """
    content = text.encode(errors="backslashreplace")
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise write_error(path, error, len(content)) from error


@contextlib.contextmanager
def atomic_text(path: Path) -> Iterator[Callable[[str], None]]:
    """Write a text file line by line; it replaces `path` when the block ends, with an exception too.

    Yields:
        A function that appends complete lines.

    Raises:
        FileError: The folder is not writable, or the disk is full.
    """
    temporary = _temporary_path(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:

            def append(lines: str) -> None:
                try:
                    file.write(lines)
                except OSError as error:
                    raise write_error(path, error, len(lines)) from error

            try:
                yield append
            finally:
                _commit(file, temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise write_error(path, error) from error


def _temporary_path(path: Path) -> Path:
    """Return a path next to the target, since a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _commit(file: IO[Any], temporary: Path, path: Path) -> None:
    """Move a complete file to its path; a power cut leaves the old file or the new one."""
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    # File names that are not UTF-8 contain lone surrogates; they are written as `\udc..`.
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_files(contents: Mapping[Path, bytes], *, replace: bool = False) -> None:
    """Write several files, or none if one would overwrite a different file. Parent folders are created.

    Raises:
        FileError: A different file exists and `replace` is not set, or a folder is not writable.
    """
    existing = [path for path, content in contents.items() if _differs(path, content)]
    if existing and not replace:
        raise FileError(
            "another file exists already",
            where=", ".join(map(str, existing)),
            fix="name another folder with --out, or replace the file with --force",
        )
    for path, content in contents.items():
        make_folder(path.parent)
        write_bytes(path, content)


def _differs(path: Path, content: bytes) -> bool:
    """Return whether a path holds something other than this content."""
    return path.exists() and (not path.is_file() or reading.read_bytes(path) != content)


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents unless they exist; return it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value))


def write_toml(path: Path, value: dict[str, Any]) -> None:
    write_text(path, tomli_w.dumps(value))


def write_arrays(path: Path, arrays: "dict[str, NDArray[Any] | None]") -> None:
    """Write arrays as a NumPy archive without those that are None; equal arrays give equal bytes."""
    import numpy as np

    content = io.BytesIO()
    present: Any = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(content, **present)
    write_bytes(path, content.getvalue())


def write_error(path: Path, error: OSError | ValueError, size: int = 0) -> FileError:
    """Return the error for a failed write of `size` bytes."""
    # A name with a null byte is a ValueError.
    number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    what = f"cannot write: {reason or error}"
    if number == errno.ENOSPC and path.parent.is_dir():
        needed = f"needed {size:,} bytes, " if size else ""
        what += f"; {needed}free are {shutil.disk_usage(path.parent).free:,}"
    return FileError(
        what,
        where=str(path),
        fix="check that the folder exists and is writable, and that its disk is not full",
    )


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
