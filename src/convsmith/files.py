"""Reading and writing files: atomic, hashed, and never able to run code."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from convsmith.errors import FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What `write_bytes` names its temporary files.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader, or a crash, sees the old content or the new one.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    # Beside the target, since a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error, len(content)) from error


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file, which is made where it is missing.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    content = text.encode()
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise unwritable(path, error, len(content)) from error


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_new(contents: Mapping[Path, bytes], *, replace: bool = False) -> None:
    """Write several files, or none where one would take the place of a different file; makes their folders.

    Raises:
        FileError: A different file is there and `replace` is not set, or a folder cannot be written to.
    """
    taken = [path for path, content in contents.items() if _differs(path, content)]
    if taken and not replace:
        raise FileError(
            "another file is there already",
            where=", ".join(map(str, taken)),
            fix="name another folder with --out, or replace it with --force",
        )
    for path, content in contents.items():
        make_folder(path.parent)
        write_bytes(path, content)


def _differs(path: Path, content: bytes) -> bool:
    """Whether something else than this content is at a path."""
    return path.exists() and (not path.is_file() or read_bytes(path) != content)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value))


def write_toml(path: Path, value: dict[str, Any]) -> None:
    write_text(path, tomli_w.dumps(value))


def unwritable(path: Path, error: OSError, size: int = 0) -> FileError:
    """What to say of a write of `size` bytes that failed."""
    what = f"cannot write: {error.strerror or error}"
    if error.errno == errno.ENOSPC and path.parent.is_dir():
        what += f"; needed {size:,} bytes, free are {shutil.disk_usage(path.parent).free:,}"
    return FileError(
        what,
        where=str(path),
        fix="check that the folder exists, that you may write to it, and that its disk is not full",
    )


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read: {error.strerror or error}", where=str(path)) from error


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Raises FileError with line and column where the text is no TOML, duplicate keys included."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"not valid TOML: {error}", where=str(path)) from error


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileError(f"not valid JSON: {error}", where=str(path)) from error


def write_arrays(path: Path, arrays: "dict[str, NDArray[Any] | None]") -> None:
    """Write arrays as a NumPy archive, those that are None left out; equal arrays give equal bytes."""
    import numpy as np

    content = io.BytesIO()
    present: Any = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(content, **present)
    write_bytes(path, content.getvalue())


def read_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """Read a NumPy archive; what would have to be unpickled is refused.

    Raises:
        FileError: The file cannot be read, or is no such archive.
    """
    import numpy as np

    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            return dict(archive)
    # A damaged archive makes zip, zlib and NumPy raise nearly anything.
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"not a NumPy archive: {error}", where=str(path)) from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> Path:
    """Make a folder, and those above it, where they are missing; returns it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def new_numbered_folder(parent: Path, name: str) -> Path:
    """Create `parent/name-1`, or the first number that is free, safely beside other processes.

    Raises:
        FileError: `parent` is a file or cannot be written to.
    """
    make_folder(parent)
    try:
        taken = [
            int(n) for p in parent.glob(f"{name}-*") if (n := p.name.removeprefix(f"{name}-")).isdecimal()
        ]
        number = max(taken, default=0)
        while True:
            number += 1
            folder = parent / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise unwritable(parent, error) from error


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under its name complete, or not at all.

    Yields a temporary folder to fill; it becomes `target` when the block ends without an error. Where
    another process made `target` meanwhile, theirs stays: both hold the same content.
    """
    make_folder(target.parent)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        raise unwritable(target, error) from error
    try:
        yield temporary
        try:
            temporary.chmod(0o755)
            if not target.exists():
                temporary.rename(target)
                sync_folder(target.parent)
        except OSError as error:
            if not target.exists():
                raise unwritable(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Be the only process that writes in a folder, for the block; leftovers of killed ones are removed.

    The lock is the system's own on the file `.lock`, so that it ends with its process however that ends. The
    file says who holds it.

    Raises:
        FileError: Another process holds the folder, or the folder cannot be written to.
    """
    path = folder / ".lock"
    try:
        handle = _locked(path)
    except BlockingIOError as error:
        raise FileError(
            f"in use by {_holder(path)}",
            where=str(folder),
            fix="wait until it ends, or stop it; what it has written stays",
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        for leftover in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
            if _TEMPORARY.fullmatch(leftover.name):
                leftover.unlink(missing_ok=True)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int:
    """Lock a file without waiting, made where it is missing. Raises BlockingIOError where another did."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A holder removes the file as it ends: a lock on a file that is no more keeps nobody out.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.ftruncate(handle, 0)
                command = " ".join(["convsmith", *sys.argv[1:2]])
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}
                os.write(handle, json.dumps(who).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _holder(path: Path) -> str:
    """Who holds a lock, as far as the file says it already."""
    try:
        who = json.loads(path.read_bytes())
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
