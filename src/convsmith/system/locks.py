"""Locks: one writer for each folder, across processes. The system releases them when their process ends."""

import contextlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from convsmith.errors import BusyError
from convsmith.system import files

# The lock of a folder, and the description of its holder; a locked file itself is unreadable on Windows.
_LOCK, _HOLDER = ".lock", ".lock.json"
# Seconds between two attempts.
_PAUSE = 1.0
T = TypeVar("T")


@contextlib.contextmanager
def lock_file(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock on a file; it is created before the block and removed after it.

    Yields:
        Whether the lock was acquired; always true with `wait`.

    Raises:
        FileError: The file cannot be created.
    """
    import filelock

    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except OSError as error:
        # Another process holds the lock; `filelock.Timeout` is an OSError too.
        if not isinstance(error, filelock.Timeout):
            raise files.write_error(path, error) from error
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            # Before the release: filelock acquires again if the file that it has locked was removed.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder; temporary files of killed processes are removed.

    Raises:
        BusyError: Another process holds the folder.
        FileError: The folder is not writable.
    """
    holder = folder / _HOLDER
    with lock_file(folder / _LOCK) as acquired:
        if not acquired:
            raise BusyError(
                f"in use by {_describe(holder)}",
                where=str(folder),
                fix="wait until it ends, or stop it; the files it has written stay",
            )
        try:
            files.write_json(holder, _this_process())
            _remove_temporary_files(folder)
            yield
        finally:
            holder.unlink(missing_ok=True)


def retry_while_busy(function: Callable[[], T], *, seconds: float = 60.0) -> T:
    """Call a function that locks a folder, again while another process holds it.

    A worker that was lost may still be ending.

    Raises:
        BusyError: Another process holds it for longer.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return function()
        except BusyError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)


def _remove_temporary_files(folder: Path) -> None:
    for path in (*folder.glob(files.TEMPORARY_GLOB), *folder.glob(f"*/{files.TEMPORARY_GLOB}")):
        if re.fullmatch(files.TEMPORARY, path.name):
            path.unlink(missing_ok=True)


def _this_process() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(["convsmith", *sys.argv[1:2]]),
    }


def _describe(holder: Path) -> str:
    """Describe the process that holds a folder, unless it has not written its description yet."""
    try:
        return "process {pid} on {host} since {since} ({command})".format_map(json.loads(holder.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
