"""Write files atomically: a reader, or a crash, sees the old content or the new one.

One rule for every output: links are followed, a regular file is replaced and keeps its permissions, and a
device, a pipe or an open file such as /dev/stdout is written to. Disks, folders and read-only files are
refused.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tomli_w

from convsmith.errors import FileError, WriteError
from convsmith.system import paths, reading
from convsmith.text import escape_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A glob pattern and a regular expression for the names of temporary files.
TEMPORARY_GLOB, TEMPORARY = ".*.tmp", r"\..+\.[0-9a-f]{8}\.tmp"
# Bytes of arrays that are compressed; larger ones are stored.
_MOST_COMPRESSED = 2**27


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file: links are followed, a regular file is replaced, devices and pipes are written to.

    Raises:
        FileError: The path is a folder, its folder is not writable, or the disk is full.
    """
    try:
        with _stream(path) if paths.is_stream(path) else _replacement(path) as file:
            file.write(content)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
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
    """Write a file as `write_bytes`, line by line; it is complete when the block ends, by an exception too.

    Yields:
        A function that appends complete lines. To a device or pipe it writes them at once.

    Raises:
        FileError: As `write_bytes`.
    """
    flows = paths.is_stream(path)
    try:
        with _stream(path) if flows else _replacement(path, partial=True) as file:

            def append(lines: str) -> None:
                try:
                    file.write(lines.encode(errors="backslashreplace"))
                    if flows:
                        file.flush()
                except BrokenPipeError:
                    raise
                except OSError as error:
                    raise write_error(path, error, len(lines)) from error

            yield append
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise write_error(path, error) from error


@contextlib.contextmanager
def _replacement(path: Path, *, partial: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces a path when the block ends; with `partial`, by an exception too."""
    target = _followed(path)
    temporary = _temporary_path(target)
    try:
        with temporary.open("xb") as file:
            try:
                yield file
            except BaseException:
                if partial:
                    _commit(file, temporary, target)
                raise
            _commit(file, temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a device, a pipe, or an open file of this process for writing."""
    if (number := paths.descriptor(path)) is not None:
        # Another opening of a redirected /dev/stdout would overwrite its first bytes.
        sys.stdout.flush()
        handle = os.dup(number)
    elif path.is_block_device():
        raise OSError(errno.ENOTSUP, "a disk, expected a file")
    else:
        handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
    with os.fdopen(handle, "wb") as file:
        yield file


def _followed(path: Path) -> Path:
    """Return the file that a path leads to, through links.

    Raises:
        OSError: It is a folder or a loop of links, or a file that may not be written to.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    for wrong, number in (
        (target.is_symlink(), errno.ELOOP),
        (paths.is_folder(target), errno.EISDIR),
        # A rename would replace it regardless.
        (paths.exists(target) and not os.access(target, os.W_OK), errno.EACCES),
    ):
        if wrong:
            raise OSError(number, os.strerror(number))
    return target


def _temporary_path(path: Path) -> Path:
    """Return a path next to the target, since a rename is atomic only within one file system."""
    # Longer names would leave no room for the rest.
    return path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.tmp")


def _commit(file: IO[Any], temporary: Path, path: Path) -> None:
    """Move a complete file to its path; a power cut leaves the old file or the new one."""
    file.flush()
    os.fsync(file.fileno())
    with contextlib.suppress(OSError):
        shutil.copymode(path, temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    # File names that are not UTF-8 contain lone surrogates; they are written as `\udc..`.
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_files(contents: Mapping[Path, bytes], *, replace: bool = False) -> None:
    """Write several files, or none if one would overwrite a different file. Parent folders are created.

    The old files are removed or replaced when all new ones are complete on the disk. An interruption then
    leaves files missing, but never new ones beside old ones.

    Raises:
        FileError: A different file exists and `replace` is not set, or a folder is not writable.
    """
    existing = [path for path, content in contents.items() if _differs(path, content)]
    if existing and not replace:
        raise FileError(
            "another file exists already",
            where=", ".join(map(str, existing)),
            fix="name another place, or replace the file with --force",
        )
    for path in contents:
        make_folder(path.parent)
    if len(contents) == 1:
        for path, content in contents.items():
            write_bytes(path, content)
        return
    *_, last = contents
    try:
        with contextlib.ExitStack() as replacements:
            for path, content in contents.items():
                _prepare(replacements, path, content)
            # The last file is the first to be replaced, when the block ends.
            for path in existing:
                if path != last:
                    remove(path.resolve())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise write_error(last, error) from error


def _prepare(replacements: contextlib.ExitStack, path: Path, content: bytes) -> None:
    """Write a file to the disk, which replaces a path when the stack is closed."""
    try:
        file = replacements.enter_context(_stream(path) if paths.is_stream(path) else _replacement(path))
        file.write(content)
        if not paths.is_stream(path):
            file.flush()
            os.fsync(file.fileno())
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise write_error(path, error, len(content)) from error


def _differs(path: Path, content: bytes) -> bool:
    """Return whether a path is a file with another content."""
    return paths.is_file(path) and not paths.is_stream(path) and reading.read_bytes(path) != content


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises:
        FileError: The folder is not writable.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents unless they exist; return it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def json_text(value: Any) -> str:
    """Return JSON by the standard: without NaN, in printable characters."""
    return escape_json(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value))


def write_toml(path: Path, value: dict[str, Any]) -> None:
    write_text(path, tomli_w.dumps(value))


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any] | None]", *, compressed: bool = True) -> str:
    """Write arrays as a NumPy archive without those that are None, and return the SHA-256 of the file.

    Equal arrays give equal bytes. Large arrays are not compressed: the logits of thousands of classes take
    minutes and hardly shrink.
    """
    import numpy as np

    content = io.BytesIO()
    present: Any = {name: array for name, array in arrays.items() if array is not None}
    is_large = sum(array.nbytes for array in present.values()) > _MOST_COMPRESSED
    (np.savez_compressed if compressed and not is_large else np.savez)(content, **present)
    write_bytes(path, content.getbuffer())
    return hashlib.sha256(content.getbuffer()).hexdigest()


def write_error(path: Path, error: OSError | ValueError, size: int = 0) -> WriteError:
    """Return the error for a failed write of `size` bytes."""
    # A name with a null byte is a ValueError.
    number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    what = f"cannot write: {reason or error}"
    if number == errno.ENOSPC and path.parent.is_dir() and not paths.is_stream(path):
        needed = f"needed {size:,} bytes, " if size else ""
        what += f"; {needed}free are {shutil.disk_usage(path.parent).free:,}"
    return WriteError(
        what,
        where=str(path),
        fix="check that the folder exists and is writable, and that its disk is not full",
    )


def sync_file(path: Path) -> None:
    """Write what the system still holds of a file to its disk. Raises OSError if the disk is full."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
