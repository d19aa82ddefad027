"""The process that guards one submission: it isolates a command, watches it, ends it, and saves its record.

    python -m convsmith.grading.keeper < SPECIFICATION.json > RESULT.json

It needs the standard library only, so that it starts at once and can be checked by reading. Between it and
the command stands a first process. In a namespace of processes, all others end with that one.
"""

import contextlib
import json
import os
import selectors
import signal
import stat
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from convsmith.grading import jail, linux, process_tree
from convsmith.grading.command import first_process
from convsmith.grading.specification import (
    FILES,
    NAMESPACE_USER,
    NETWORK,
    OTHER_USER,
    PROCESSES,
    RECORD_FOLDER,
    Result,
    Specification,
)

# Seconds between two looks at the processes; bytes of the output that are kept at its begin and end.
_INTERVAL, _KEPT = 0.1, 2**15


@dataclass
class _Output:
    """What a command prints: the begin and the end are kept."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, content: bytes) -> None:
        self.size += len(content)
        room = _KEPT - len(self.head)
        self.head += content[:room]
        self.tail += content[room:] if room < len(content) else b""
        del self.tail[:-_KEPT]

    def text(self) -> str:
        missing = self.size - len(self.head) - len(self.tail)
        between = f"\n... {missing:,} bytes ...\n".encode() if missing else b""
        return (bytes(self.head) + between + bytes(self.tail)).decode("utf-8", "replace")


def main() -> int:
    """Read a specification from standard input, run its command, and print the result."""
    specification = Specification(**json.loads(sys.stdin.read()))
    linux.die_with_parent(signal.SIGTERM)
    linux.adopt_orphans()
    linux.end_first()
    result = Result()
    try:
        _isolate(specification)
    except OSError as error:
        result.problem = str(error) or type(error).__name__
    else:
        run(specification, result)
    sys.stdout.write(json.dumps(asdict(result)))
    return 0


def _isolate(specification: Specification) -> None:
    """Move this process and its future children into namespaces."""
    wanted = specification.isolation
    flags = {
        NAMESPACE_USER: linux.NEW_USER,
        NETWORK: linux.NEW_NETWORK | linux.NEW_IPC,
        PROCESSES: linux.NEW_PROCESSES,
        FILES: linux.NEW_MOUNTS,
    }
    user, group = os.getuid(), os.getgid()
    if combined := sum(flags.get(each, 0) for each in wanted):
        linux.unshare(combined)
    if NAMESPACE_USER in wanted:
        linux.map_user(user, group)
    # Of a hidden process, the maps cannot be written.
    linux.hide_memory()
    if FILES in wanted:
        jail.build(
            Path(specification.root),
            Path(specification.folder),
            specification.readable,
            size=specification.disk,
            files=specification.files,
            # Twice the size, so that a record which is too large is known as such.
            record=2 * specification.record_size,
        )
    if OTHER_USER in wanted:
        inside = _inside(specification)
        for folder, folders, names in os.walk(inside):
            for each in (".", *folders, *names):
                os.lchown(Path(folder) / each, specification.user, specification.user)


def _inside(specification: Specification) -> str:
    """Return the folder of the command, as this process sees it."""
    return (specification.root if FILES in specification.isolation else "") + specification.folder


def run(specification: Specification, result: Result) -> None:
    """Start the command, watch it until its end, end everything that it started, and save its record."""
    output, output_end = os.pipe()
    status, status_end = os.pipe()
    start = time.monotonic()
    first = os.fork()
    if first == 0:
        os.close(output)
        os.close(status)
        first_process(specification, output_end, status_end)
    os.close(output_end)
    os.close(status_end)

    def terminate(*_: object) -> NoReturn:
        process_tree.end_all(os.getpid())
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    watch = _Watch(specification, result, first)
    watch.until_end(output, status)
    printed = watch.printed
    result.seconds = time.monotonic() - start
    watch.end_group()
    # With the first process of a namespace, the system ends all others.
    with contextlib.suppress(OSError):
        os.kill(first, signal.SIGKILL)
    if OTHER_USER in specification.isolation and PROCESSES not in specification.isolation:
        process_tree.end_user(specification.user)
    result.left = not process_tree.end_all(os.getpid())
    _drain(output, printed)
    result.output, result.printed = printed.text(), printed.size
    result.disk_full = _disk_full(specification)
    _save_record(specification, result)


class _Watch:
    """Collects the output of a command until it ends or reaches a limit."""

    def __init__(self, specification: Specification, result: Result, first: int) -> None:
        self.specification, self.result, self.first = specification, result, first
        self.printed = _Output()
        self.answer = b""
        self.ended = False

    def until_end(self, output: int, status: int) -> None:
        """Watch; the pipes are of the command's output and of what the first process reports."""
        deadline = time.monotonic() + self.specification.time
        next_look = 0.0
        with selectors.DefaultSelector() as selector:
            for pipe in (output, status):
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ)
            while not self.ended and not self.result.limit:
                for key, _ in selector.select(_INTERVAL / 2):
                    content = os.read(key.fd, 2**16)
                    if not content:
                        selector.unregister(key.fd)
                    self._receive(content, is_status=key.fd == status)
                now = time.monotonic()
                if now >= deadline:
                    self.result.limit = "time"
                elif self.printed.size > self.specification.output:
                    self.result.limit = "output"
                elif now >= next_look:
                    next_look = now + _INTERVAL
                    self.result.limit = _look(self.specification, self.result, self.first)
        if self.ended:
            # A command that ended in time ended by itself.
            self.result.limit = ""
        _, _, report = self.answer.partition(b"\n")
        if report and self.ended:
            answer = json.loads(report)
            self.result.exit_code, self.result.problem = answer["exit_code"], answer["problem"]

    def end_group(self) -> None:
        """Kill the session of the command: all that a system without /proc and namespaces offers."""
        command, _, _ = self.answer.partition(b"\n")
        if command.isdigit() and PROCESSES not in self.specification.isolation:
            with contextlib.suppress(OSError):
                os.killpg(int(command), signal.SIGKILL)

    def _receive(self, content: bytes, *, is_status: bool) -> None:
        if not is_status:
            self.printed.add(content)
        elif content:
            self.answer += content
        else:
            self.ended = True


def _look(specification: Specification, result: Result, first: int) -> str:
    """Return the limit that the processes together exceed, or an empty text."""
    processes = process_tree.descendants(first)
    result.peak_processes = max(result.peak_processes, len(processes))
    used = process_tree.memory(processes, specification.memory)
    result.peak_memory = max(result.peak_memory, used)
    if len(processes) > specification.processes:
        return "processes"
    if used > specification.memory:
        return "memory"
    # A tmpfs has its own limit.
    if FILES not in specification.isolation and _disk_use(specification) > specification.disk:
        return "files"
    return ""


def _disk_use(specification: Specification) -> int:
    try:
        return _size_of(specification)
    except RecursionError:
        # Folders in folders without end.
        return specification.disk + 1


def _size_of(specification: Specification) -> int:
    used = count = 0
    for folder, folders, names in os.walk(specification.folder):
        for each in (*folders, *names):
            with contextlib.suppress(OSError):
                used += (Path(folder) / each).lstat().st_blocks * 512
            count += 1
        if count > specification.files:
            return specification.disk + 1
    return used


def _disk_full(specification: Specification) -> bool:
    if FILES not in specification.isolation:
        return False
    disk = os.statvfs(specification.root)
    return disk.f_bfree * 100 < disk.f_blocks or disk.f_ffree * 100 < disk.f_files


def _drain(output: int, printed: _Output) -> None:
    """Read what is left in the pipe: at most its size, since nothing writes any more."""
    with contextlib.suppress(OSError):
        while content := os.read(output, 2**16):
            printed.add(content)
            if printed.size > 2**30:
                break


def _save_record(specification: Specification, result: Result) -> None:
    """Copy the record out of the jail, if it is a regular file of a permitted size."""
    path = Path(_inside(specification)) / RECORD_FOLDER / specification.record
    try:
        # A link could lead anywhere, and a pipe would block.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        result.record_problem = error.strerror or str(error)
        return
    with os.fdopen(handle, "rb") as source:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            result.record_problem = "not a regular file"
        elif status.st_size > specification.record_size:
            result.record_problem = (
                f"{status.st_size:,} bytes, expected at most {specification.record_size:,}"
            )
        else:
            # It could grow while it is read.
            Path(specification.save).write_bytes(source.read(specification.record_size))
            result.record = True


if __name__ == "__main__":
    sys.exit(main())
