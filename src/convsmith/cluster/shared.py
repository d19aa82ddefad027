"""The folder that workers share: by it they are told apart from workers elsewhere, and asked to stop."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import convsmith
from convsmith.errors import FileError, ProcessError
from convsmith.system import files, locks, paths, reading
from convsmith.system.signals import request_stop

_TOKEN, _STOP, _LOCK = ".shared", ".stop", ".main.lock"
# Seconds between two looks for a request to stop, and looks from one for the main process to the next.
_INTERVAL, _LOOKS = 0.5, 10


@dataclass(frozen=True, kw_only=True)
class SharedFolder:
    """A folder that the main process and all workers see, with what a worker compares.

    Attributes:
        path: Absolute.
        token: The content of a file in it, new for each command.
        version: Of convsmith in the main process.
        process: The main process.
    """

    path: str
    token: str
    version: str
    process: tuple[str, int]

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["SharedFolder"]:
        """Prepare an existing folder, and clean up after the block.

        Raises:
            FileError: It is not writable.
        """
        token = secrets.token_hex(8)
        shared = cls(
            path=str(folder.absolute()), token=token, version=convsmith.__version__, process=_this_process()
        )
        # A worker that was left alone may look at this moment.
        with locks.lock_file(folder / _LOCK, wait=True):
            (folder / _STOP).unlink(missing_ok=True)
            files.write_text(folder / _TOKEN, token)
            try:
                yield shared
            finally:
                (folder / _TOKEN).unlink(missing_ok=True)
                (folder / _STOP).unlink(missing_ok=True)

    def check(self) -> None:
        """Compare this process with the main one.

        Raises:
            ProcessError: It has another version of convsmith, or does not see the folder.
        """
        host, version = socket.gethostname(), convsmith.__version__
        if version != self.version:
            raise ProcessError(
                f"the worker on {host} has convsmith {version}, the main process {self.version}",
                where="--on",
                fix=f"install one version everywhere: pip install convsmith=={self.version}",
            )
        try:
            token = reading.read_text(Path(self.path) / _TOKEN)
        except FileError:
            token = ""
        if token != self.token:
            raise ProcessError(
                f"the worker on {host} does not see the folder {self.path}",
                where="--on",
                fix="name a folder of a file system that all workers have under the same path",
            )

    @property
    def is_main(self) -> bool:
        """Whether this is the main process."""
        return _this_process() == self.process

    @property
    def is_stopping(self) -> bool:
        """Whether the main process has asked all workers to stop."""
        return paths.is_file(Path(self.path) / _STOP)

    @property
    def is_abandoned(self) -> bool:
        """Whether the main process has ended, killed perhaps, so that nobody waits for this worker."""
        if self.is_main:
            return False
        lock = Path(self.path) / _LOCK
        if not paths.is_file(lock):
            return True
        with locks.lock_file(lock) as is_free:
            return is_free

    def stop(self) -> None:
        """Ask all workers to stop soon."""
        files.write_text(Path(self.path) / _STOP, "")

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let a request to stop reach what runs in the block, as a signal would.

        The end of the main process is a request too.
        """
        ended = threading.Event()

        def watch() -> None:
            stopping, looks = False, 0
            while not ended.wait(_INTERVAL):
                looks += 1
                stopping = stopping or self.is_stopping or (looks % _LOOKS == 0 and self.is_abandoned)
                # Again and again: what can be stopped may begin later.
                if stopping:
                    request_stop()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
