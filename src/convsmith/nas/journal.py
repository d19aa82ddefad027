"""Optuna's journal in a file that processes and machines may share: one line of JSON for each operation."""

import json
import os
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import BaseJournalBackend

from convsmith.errors import FileError
from convsmith.system import files, locks, paths, reading

_LOCK = ".journal.lock"


class Journal(BaseJournalBackend):
    """The file of an Optuna `JournalStorage`.

    Optuna's own `JournalFileBackend` writes the same lines. It cannot read past the partial line of a process
    that was killed, and its lock outlives such a process.

    Args:
        path: Of the file; it is created if it does not exist.

    Raises:
        FileError: The path is not a regular file, or the folder is not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The number of lines that were read, and their length in bytes.
        self._position = (0, 0)
        if not paths.exists(path):
            files.append_text(path, "")
        elif not paths.is_file(path):
            raise FileError("cannot read: not a regular file", where=str(path))

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the operations from a number on. A partial line at the end is left out.

        Raises:
            FileError: The file cannot be read.
            ValueError: A line is no JSON object.
        """
        number, offset = self._position if self._position[0] == log_number_from else (0, 0)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except OSError as error:
            raise paths.read_error(self.path, error) from error
        content = content[: content.rfind(b"\n") + 1]
        lines = content.split(b"\n")[:-1]
        operations = [_operation(line, place) for place, line in enumerate(lines, start=number + 1)]
        self._position = (number + len(lines), offset + len(content))
        return operations[max(log_number_from - number, 0) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations, after the last complete line.

        Raises:
            FileError: The file is not writable, or the disk is full.
        """
        content = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in logs).encode()
        with locks.lock_file(self.path.with_name(_LOCK), wait=True):
            try:
                with self.path.open("r+b") as file:
                    _seek_end_of_lines(file)
                    file.truncate()
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise files.write_error(self.path, error, len(content)) from error


def _operation(line: bytes, number: int) -> dict[str, Any]:
    operation = reading.parse_json(line.decode())
    if not isinstance(operation, dict):
        raise TypeError(f"line {number}: expected an object")
    return operation


def _seek_end_of_lines(file: IO[bytes]) -> None:
    """Go to the end of the last complete line; a killed process may have left a part of one behind it."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            end = file.read().rfind(b"\n") + 1
    file.seek(end)
