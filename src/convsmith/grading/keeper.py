"""The process that guards one submission: it isolates a command, watches it, ends it, and saves its record.

    python -m convsmith.grading.keeper < SPECIFICATION.json > RESULT.json

It needs the standard library only, so that it starts at once and can be checked by reading. Between it and
the command stands a first process. In a namespace of processes, all others end with that one.
"""

import contextlib
import json
import os
import resource
import selectors
import shutil
import signal
import stat
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from convsmith.grading import jail, linux, process_tree
from convsmith.grading.parts import FILES, NAMESPACE_USER, NETWORK, OTHER_USER, PROCESSES

# Seconds between two looks at the processes; bytes of the output that are kept at its begin and end.
_INTERVAL, _KEPT = 0.1, 2**15
# Address space beyond the memory limit: libraries reserve it without using it.
_RESERVED = 2**34
# Threads count as processes for the system's limit.
_THREADS = 100


@dataclass(frozen=True, kw_only=True)
class Specification:
    """What the keeper needs to know; all paths are absolute.

    Attributes:
        command: The program and its arguments.
        folder: What the command may write.
        root: An empty folder for the jail.
        record: The name of the record in the record folder of `folder`.
        save: Where a complete record is saved.
        environment: The variables of the command, and no others.
        readable: What it may read, beside the system.
        isolation: Which of the protections are set up; one that fails ends the keeper.
        user: The number of the user that the command runs as, with the protection `user`.
        time: Seconds.
        memory: Bytes of all processes together.
        disk: Bytes of all that is written.
        file_size: Bytes of one file.
        files: How many there may be.
        processes: How many there may be at a time.
        open_files: Of one process.
        output: Bytes that may be printed.
        record_size: Bytes.
        count_processes: Whether the system can count the processes of this command apart from others.
    """

    command: list[str]
    folder: str
    root: str
    record: str
    save: str
    environment: dict[str, str]
    readable: list[str]
    isolation: list[str]
    user: int
    time: float
    memory: int
    disk: int
    file_size: int
    files: int
    processes: int
    open_files: int
    output: int
    record_size: int
    count_processes: bool


@dataclass
class Result:
    """How a command ended.

    Attributes:
        limit: The limit that ended it; empty if it ended by itself.
        exit_code: Negative for a signal; None if the command was ended.
        seconds: Of the command.
        output: The begin and the end of what it printed.
        printed: Bytes.
        peak_memory: Bytes of all processes together, as far as they were seen.
        peak_processes: As far as they were seen.
        disk_full: Whether nothing more could be written at the end.
        record: Whether a record was saved.
        record_problem: Why there is none.
        problem: Why the command was not started.
        left: Whether processes may be left.
    """

    limit: str = ""
    exit_code: int | None = None
    seconds: float = 0
    output: str = ""
    printed: int = 0
    peak_memory: int = 0
    peak_processes: int = 0
    disk_full: bool = False
    record: bool = False
    record_problem: str = ""
    problem: str = ""
    left: bool = False


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
            record=specification.record_size,
        )
    if OTHER_USER in wanted:
        inside = _inside(specification)
        for folder, folders, names in os.walk(inside):
            for each in (".", *folders, *names):
                os.lchown(os.path.join(folder, each), specification.user, specification.user)


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
        _first_process(specification, output_end, status_end)
    os.close(output_end)
    os.close(status_end)

    def terminate(*_: object) -> NoReturn:
        process_tree.end_all(os.getpid())
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    printed = _Output()
    _watch(specification, result, first, output, status, printed)
    result.seconds = time.monotonic() - start
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


def _watch(
    specification: Specification, result: Result, first: int, output: int, status: int, printed: _Output
) -> None:
    """Collect output until the command ends or reaches a limit; `first` is the process to look below."""
    deadline = time.monotonic() + specification.time
    next_look = 0.0
    received = b""
    with selectors.DefaultSelector() as selector:
        for pipe in (output, status):
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(_INTERVAL / 2):
                content = os.read(key.fd, 2**16)
                if not content:
                    selector.unregister(key.fd)
                if key.fd == status:
                    received += content
                    if not content:
                        if received:
                            answer = json.loads(received)
                            result.exit_code, result.problem = answer["exit_code"], answer["problem"]
                        return
                else:
                    printed.add(content)
            now = time.monotonic()
            if now >= deadline:
                result.limit = "time"
            elif printed.size > specification.output:
                result.limit = "output"
            elif now >= next_look:
                next_look = now + _INTERVAL
                result.limit = _look(specification, result, first)
            if result.limit:
                return


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
    used = count = 0
    for folder, folders, names in os.walk(specification.folder):
        for each in (*folders, *names):
            with contextlib.suppress(OSError):
                used += os.lstat(os.path.join(folder, each)).st_blocks * 512
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
    path = os.path.join(_inside(specification), jail.RECORD_FOLDER, specification.record)
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
            result.record_problem = f"{status.st_size:,} bytes, expected at most {specification.record_size:,}"
        else:
            with open(specification.save, "wb") as target:
                shutil.copyfileobj(source, target)
            result.record = True


def _first_process(specification: Specification, output: int, status: int) -> NoReturn:
    """Enter the jail, start the command, wait for its end, and report it."""
    answer: dict[str, int | str | None] = {"exit_code": None, "problem": ""}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        linux.die_with_parent(signal.SIGKILL)
        linux.hide_memory()
        linux.adopt_orphans()
        os.setsid()
        if FILES in specification.isolation:
            jail.enter(Path(specification.root), own_processes=PROCESSES in specification.isolation)
        failure, failure_end = os.pipe()
        command = os.fork()
        if command == 0:
            os.close(failure)
            _become(specification, output, failure_end)
        # Only the command and its children hold the end of the output.
        os.close(output)
        os.close(failure_end)
        with os.fdopen(failure, "rb") as pipe:
            answer["problem"] = pipe.read().decode()
        while True:
            ended, code = os.wait()
            if ended == command:
                answer["exit_code"] = os.waitstatus_to_exitcode(code)
                break
    except OSError as error:
        answer["problem"] = str(error)
    os.write(status, json.dumps(answer).encode())
    os.close(status)
    if PROCESSES not in specification.isolation:
        process_tree.end_all(os.getpid())
    os._exit(0)


def _become(specification: Specification, output: int, failure: int) -> NoReturn:
    """Become the command: its own session, limits, user and environment. Reports an error into a pipe."""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.set_inheritable(failure, False)
        os.closerange(3, failure)
        os.closerange(failure + 1, 1024)
        os.chdir(specification.folder)
        os.umask(0o077)
        _set_limits(specification)
        if OTHER_USER in specification.isolation:
            os.setgroups([])
            os.setresgid(*[specification.user] * 3)
            os.setresuid(*[specification.user] * 3)
        linux.gain_no_privileges()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(specification.command[0], specification.command, specification.environment)
    except (OSError, ValueError) as error:
        os.write(failure, str(error).encode())
    os._exit(127)


def _set_limits(specification: Specification) -> None:
    limits = {
        "RLIMIT_CPU": int(specification.time * (os.cpu_count() or 1)) + 1,
        "RLIMIT_DATA": specification.memory,
        "RLIMIT_AS": specification.memory + _RESERVED,
        "RLIMIT_FSIZE": specification.file_size,
        "RLIMIT_NOFILE": specification.open_files,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 2**20,
    }
    if specification.count_processes:
        limits["RLIMIT_NPROC"] = specification.processes + _THREADS
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # macOS refuses some.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    sys.exit(main())
