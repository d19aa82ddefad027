"""Reading and writing files: atomic, hashed, and never able to run code."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tomli_w

from convsmith.errors import BusyError, FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What `write_bytes` names its temporary files.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# What scratch folders begin with, and how many seconds they are let alone.
_SCRATCH, _YOUNG = ".scratch-", 60
# What is more than any file of ours holds, and still no strain.
_MOST_TOML, _MOST_JSON, _MOST_HEADER = 2**20, 2**28, 10**8
_DEEPEST, _DEEPEST_HEADER = 100, 4
# The parser takes minutes for keys of thousands of parts.
_DOTTED = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){50}""")
_MOST_ARRAYS, _MOST_UNPACKED = 1000, 2**33
# NumPy's letters for truth values, integers, real numbers and bytes: what is written, and all that is read.
_KINDS = "biufS"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader, or a crash, sees the old content or the new one.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    temporary = _temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            _take_place(file, temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error, len(content)) from error


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file, which is made where it is missing.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    content = text.encode(errors="backslashreplace")
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise unwritable(path, error, len(content)) from error


@contextlib.contextmanager
def growing(path: Path) -> Iterator[Callable[[str], None]]:
    """A text file that takes its place as a whole once it is written, or interrupted: no row is lost.

    Yields a function that adds whole lines.

    Raises:
        FileError: The folder cannot be written to, or the disk is full.
    """
    temporary = _temporary_beside(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:

            def add(lines: str) -> None:
                try:
                    file.write(lines)
                except OSError as error:
                    raise unwritable(path, error, len(lines)) from error

            try:
                yield add
            finally:
                _take_place(file, temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def _temporary_beside(path: Path) -> Path:
    """Beside the target, since a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _take_place(file: IO[Any], temporary: Path, path: Path) -> None:
    """Put a file that was written whole in the place of another, so that a power cut leaves one of them."""
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    # File names that are no UTF-8 have halves of characters, which are written as `\\udc..`.
    write_bytes(path, text.encode(errors="backslashreplace"))


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


def unwritable(path: Path, error: OSError | ValueError, size: int = 0) -> FileError:
    """What to say of a write of `size` bytes that failed."""
    # A name with a null byte is a ValueError.
    number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    what = f"cannot write: {reason or error}"
    if number == errno.ENOSPC and path.parent.is_dir():
        needed = f"needed {size:,} bytes, " if size else ""
        what += f"; {needed}free are {shutil.disk_usage(path.parent).free:,}"
    return FileError(
        what,
        where=str(path),
        fix="check that the folder exists, that you may write to it, and that its disk is not full",
    )


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Raises FileError where the file cannot be read, is no plain file, or is larger than `most` bytes."""
    try:
        # A pipe would be waited for.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FileError("cannot read: no plain file", where=str(path))
        if most is not None and (size := path.stat().st_size) > most:
            raise FileError(f"found {size:,} bytes, at most {most:,} are read", where=str(path))
        return path.read_bytes()
    # ValueError: a name with a null character in it.
    except (OSError, ValueError) as error:
        raise FileError(
            f"cannot read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            fix="check the path, and that you may read it",
        ) from error


def read_text(path: Path, most: int | None = None) -> str:
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Raises FileError with line and column where the text is no TOML, duplicate keys included."""
    try:
        text = read_text(path, _MOST_TOML)
        if _DOTTED.search(text):
            raise FileError("a key of 50 parts or more", where=str(path))
        return tomllib.loads(text)
    # Not TOMLDecodeError alone: numbers of thousands of digits, and lists in lists without end.
    except (ValueError, RecursionError) as error:
        raise FileError(f"not valid TOML: {error}", where=str(path)) from error


def read_json(path: Path) -> Any:
    """Raises FileError where the text is no JSON, is nested too deeply, or has a key twice."""
    text = read_text(path, _MOST_JSON)
    if (depth := json_depth(text)) > _DEEPEST:
        raise FileError(f"nested {depth:,} levels deep, at most {_DEEPEST} are read", where=str(path))
    try:
        return json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        raise FileError(f"not valid JSON: {error}", where=str(path)) from error


def json_depth(text: str) -> int:
    """How deep the brackets of a JSON text are nested; those inside strings do not count.

    >>> json_depth('{"a": [1, "[[["]}')
    2
    """
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', text):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError where a key stands in it twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return table


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

    content = io.BytesIO(read_bytes(path))
    try:
        _check_archive(content)
        with np.load(content, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        # A damaged archive makes zip, zlib, NumPy, and the tokenizer for its headers, raise nearly anything.
        raise FileError(f"not a NumPy archive: {error}", where=str(path)) from error


def _check_archive(content: io.BytesIO) -> None:
    """Raises ValueError where the arrays of an archive are not as large as they say, before they are read."""
    import numpy as np

    with zipfile.ZipFile(content) as archive:
        members = archive.infolist()
        if len(members) > _MOST_ARRAYS or len({member.filename for member in members}) < len(members):
            raise ValueError(f"{len(members)} arrays, or two of one name")
        if (size := sum(member.file_size for member in members)) > _MOST_UNPACKED:
            raise ValueError(f"{size:,} bytes unpacked, at most {_MOST_UNPACKED:,} are read")
        for member in members:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, _, dtype = read[version](file)
                rest = member.file_size - file.tell()
            if dtype.kind not in _KINDS:
                raise ValueError(f"{member.filename}: found {dtype}, expected real numbers or bytes")
            if math.prod(shape) * dtype.itemsize != rest:
                raise ValueError(f"{member.filename}: {rest:,} bytes for {dtype} of shape {shape}")
    content.seek(0)


def read_safetensors(path: Path) -> bytes:
    """The content of a safetensors file, whose header was looked at before anything is made of it.

    Raises:
        FileError: The file cannot be read.
        ValueError: The header is longer than the file or too long, is no JSON, is nested too deeply, or has a
            name twice. Offsets and types are looked at by the library.
    """
    content = read_bytes(path)
    check_safetensors(content)
    return content


def check_safetensors(content: bytes) -> None:
    """Look at a safetensors header before anything is made of the file; raises as `read_safetensors`."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _MOST_HEADER):
        raise ValueError(f"a header of {length:,} bytes in a file of {len(content):,}")
    header = content[8 : 8 + length].decode()
    if json_depth(header) > _DEEPEST_HEADER:
        raise ValueError("the header is nested too deeply")
    json.loads(header, object_pairs_hook=unique)


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


def check_destination(folder: Path, needed: int = 0) -> None:
    """Make sure, before long work, that a folder can be written to; it need not be there yet.

    Args:
        folder: Where files will go.
        needed: About how many bytes they will take.

    Raises:
        FileError: It is a file, is not writable, its name is too long, or its disk has not enough space.
    """
    try:
        there = _nearest_folder(folder.absolute())
        # Permissions, a read-only disk, a quota: the system itself says. The file has no name, or loses it.
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except (OSError, ValueError) as error:
        raise unwritable(folder, error) from error
    if free < needed:
        raise FileError(
            f"not enough space: about {needed:,} bytes will be needed, free are {free:,}",
            where=str(folder),
            fix="make room, or name a folder on another disk",
        )


def _nearest_folder(path: Path) -> Path:
    """The folder that is there already, of a path and those above it. Raises OSError where it is none."""
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
    longest = os.pathconf(nearest, "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > longest for part in path.parts):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return nearest


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
    with scratch_folder(target.parent, prefix=f"{target.name}.", suffix=".tmp") as temporary:
        yield temporary
        try:
            temporary.chmod(0o755)
            if not target.exists():
                temporary.rename(target)
                sync_folder(target.parent)
        except OSError as error:
            if not target.exists():
                raise unwritable(target, error) from error


@contextlib.contextmanager
def scratch_folder(parent: Path, *, prefix: str, suffix: str = "") -> Iterator[Path]:
    """A folder for the block; those that killed processes have left in `parent` are removed.

    Raises:
        FileError: `parent` cannot be written to.
    """
    make_folder(parent)
    _sweep(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH + prefix, suffix=suffix, dir=parent))
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        raise unwritable(parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _sweep(parent: Path) -> None:
    """Remove scratch folders whose process has ended: it held a lock on them as long as it lived."""
    for folder in parent.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # One that was made just now may not be locked yet.
                if time.time() - os.fstat(handle).st_mtime > _YOUNG:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


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
        raise BusyError(
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
                _sign(handle, path)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _sign(handle: int, path: Path) -> None:
    """Write into a lock who holds it; where that fails, there is no lock."""
    command = " ".join(["convsmith", *sys.argv[1:2]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(who).encode())
    except OSError:
        path.unlink()
        raise


def _holder(path: Path) -> str:
    """Who holds a lock, as far as the file says it already."""
    try:
        who = json.loads(path.read_bytes())
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
