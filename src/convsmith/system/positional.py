"""Read and write at positions of open files, from several threads at once, on every system."""

import io
import os
import threading
import weakref
from pathlib import Path
from typing import IO

# Windows has neither `os.pread` nor `os.pwrite`: there, moving and reading are one step for all threads.
_LOCK = threading.Lock()
_BUFFER = 2**20


def open_file(path: Path, flags: int) -> int:
    """Open a file of bytes, and return its number, as `os.open` does.

    Args:
        path: Of the file.
        flags: Such as `os.O_RDONLY`. Windows would translate the ends of lines without `O_BINARY`.
    """
    return os.open(path, flags | getattr(os, "O_BINARY", 0))


def read_at(file: int, size: int, offset: int) -> bytes:
    """Return the bytes of a file from an offset on: fewer than `size` only at its end.

    Args:
        file: The number of an open file. Where it is read or written otherwise is not defined afterwards.
        size: In bytes.
        offset: In bytes, from the beginning.
    """
    parts = []
    while size > 0 and (part := _read(file, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write all bytes into a file from an offset on. Arguments as those of `read_at`.

    Raises:
        OSError: They cannot be written, for example because the disk is full.
    """
    rest = memoryview(content)
    while rest:
        written = _write(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _read(file: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, size, offset)
    with _LOCK:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)


def _write(file: int, content: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(file, content, offset)
    with _LOCK:
        os.lseek(file, offset, os.SEEK_SET)
        return os.write(file, content)


class OpenFile:
    """An open file of bytes, by its number; closed with the last object that has it.

    Args:
        number: From `open_file` or `os.dup`.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)

    def section(self, start: int, size: int) -> IO[bytes]:
        """Return a part of the file as a file of its own, with a position of its own; offsets in bytes.

        Reading it raises OSError if the file has been cut meanwhile.
        """
        return io.BufferedReader(_Section(self, start, size), _BUFFER)


class _Section(io.RawIOBase):
    def __init__(self, file: OpenFile, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if self._at < 0:
            raise ValueError(f"a position of {self._at}")
        return self._at

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        size = max(0, min(len(buffer), self._size - self._at))
        content = read_at(self._file.number, size, self._start + self._at)
        if len(content) < size:
            raise OSError("the file was cut while it was read")
        buffer[:size] = content
        self._at += size
        return size
