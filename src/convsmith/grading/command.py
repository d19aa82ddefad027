"""Start the command of a submission: its own jail, session, limits and user."""

import contextlib
import json
import os
import resource
import signal
from pathlib import Path
from typing import NoReturn

from convsmith.grading import jail, linux, process_tree
from convsmith.grading.specification import FILES, OTHER_USER, PROCESSES, SUBMISSION_FOLDER, Specification

# Address space beyond the memory limit: libraries reserve it without using it.
_RESERVED = 2**34
# Threads count as processes for the system's limit.
_THREADS = 100


def first_process(specification: Specification, output: int, status: int) -> NoReturn:
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
        os.write(status, f"{command}\n".encode())
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
    except Exception as error:  # noqa: BLE001 - a copy of the keeper must not go on here
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
        # Its code may read its own files by relative paths.
        submission = Path(specification.folder, SUBMISSION_FOLDER)
        os.chdir(submission if submission.is_dir() else specification.folder)
        os.umask(0o077)
        _set_limits(specification)
        if OTHER_USER in specification.isolation:
            os.setgroups([])
            # For the superuser these set the saved numbers too.
            os.setgid(specification.user)
            os.setuid(specification.user)
        linux.gain_no_privileges()
        linux.refuse_calls()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(  # noqa: S606 - named by convsmith
            specification.command[0], specification.command, specification.environment
        )
    except Exception as error:  # noqa: BLE001 - a copy of the keeper must not go on here
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
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # macOS refuses some.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
