"""What this system protects against when it runs strangers' code: measured at the start, and said plainly."""

import json
import os
import platform
import re
import secrets
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from convsmith.errors import FileError
from convsmith.grading.outcome import Limits
from convsmith.grading.sandbox import SLOTS, Isolation, Sandbox
from convsmith.grading.specification import FILES, NAMESPACE_USER, NETWORK, OTHER_USER, PROCESSES
from convsmith.text import size_text

# What a submission tries in the measurement; every answer is what it could do.
_PROBE = """
import json, os, socket, sys
port, secret, target, parent = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
def succeeds(action):
    try:
        action()
    except (OSError, AttributeError):
        return False
    return True
import convsmith
answer = {
    "network": succeeds(lambda: socket.create_connection(("127.0.0.1", port), 1).close()),
    "reads": succeeds(lambda: open(secret).read()),
    "writes": succeeds(lambda: open(target, "w").write("x")),
    "signals": succeeds(lambda: os.kill(parent, 0)),
    "hides": succeeds(lambda: os.close(os.memfd_create("hidden"))),
    "user": getattr(os, "getuid", int)(),
}
open("record/RECORD.json", "w").write(json.dumps(answer))
"""
_PROBE_LIMITS = Limits(time=30, disk=2**24, output=2**16)
# Since this version the processes of a user namespace are counted apart.
_COUNTS_APART = (5, 14)


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What this system can do, as measured.

    Attributes:
        isolation: How submissions are run.
        other_user: Whether they run as a user without rights of the teacher's.
        no_network: Whether no connection was possible, to this machine neither.
        no_reading: Whether a file of another folder could not be read.
        no_writing: Whether a file that all may write could not be written.
        no_signals: Whether no other process could be signalled.
        hard_end: Whether the system itself ends all processes that a submission started.
        all_counted: Whether all memory and all processes of a submission are counted.
    """

    isolation: Isolation = field(default_factory=Isolation)
    other_user: bool = False
    no_network: bool = False
    no_reading: bool = False
    no_writing: bool = False
    no_signals: bool = False
    hard_end: bool = False
    all_counted: bool = False

    @property
    def complete(self) -> bool:
        outside = self.no_network and self.no_reading and self.no_writing and self.no_signals
        return outside and self.hard_end and self.all_counted


def detect() -> Protection:
    """Measure what this system protects against: a harmless command tries what a hostile one would.

    Example:
        >>> detect().isolation.parts is not None
        True
    """
    for isolation in _candidates():
        with _bait() as (port, secret, target), suppress(FileError, ValueError, KeyError):
            answer = _answer(isolation, [str(port), str(secret), str(target), str(os.getpid())])
            if answer is None:
                continue
            parts = isolation.parts
            return Protection(
                isolation=isolation,
                other_user=OTHER_USER in parts and answer["user"] != os.getuid(),
                no_network=not answer["network"],
                no_reading=not answer["reads"],
                no_writing=not answer["writes"],
                no_signals=not answer["signals"],
                hard_end=PROCESSES in parts,
                # Other systems have no list of processes that the keeper reads.
                all_counted=sys.platform == "linux" and not answer["hides"],
            )
    return Protection()


def _candidates() -> Iterator[Isolation]:
    """Yield what may work, the strongest first."""
    if sys.platform == "linux":
        root = os.getuid() == 0
        first = OTHER_USER if root else NAMESPACE_USER
        apart = root or _kernel() >= _COUNTS_APART
        for parts in ((NETWORK, PROCESSES, FILES), (NETWORK, PROCESSES), (NETWORK,)):
            yield Isolation(parts=(first, *parts), count_processes=apart)
        if root:
            yield Isolation(parts=(OTHER_USER,), count_processes=True)
            # Another user cannot always read the Python of the superuser.
            yield Isolation(parts=(NETWORK, PROCESSES))
    elif hasattr(os, "getuid") and os.getuid() == 0:
        yield Isolation(parts=(OTHER_USER,), count_processes=True)
    yield Isolation()


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


@contextmanager
def _bait() -> Iterator[tuple[int, Path, Path]]:
    """Yield a port that listens, a file that all may read, and one that all may write."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret, target = folder / "secret", folder / "target"
        for path, mode in ((secret, 0o644), (target, 0o666)):
            path.write_text(secrets.token_hex(4), encoding="ascii")
            path.chmod(mode)
        yield server.getsockname()[1], secret, target


def _answer(isolation: Isolation, arguments: Sequence[str]) -> dict[str, bool] | None:
    with Sandbox(isolation, slot=SLOTS - 1) as sandbox:
        command = [sys.executable, "-P", "-c", _PROBE, *arguments]
        if sandbox.run(command, _PROBE_LIMITS).kind != "ok":
            return None
        answer: dict[str, bool] = json.loads(sandbox.saved_record.read_text(encoding="utf-8"))
        return answer


def protection_lines(protection: Protection, limits: Limits) -> list[str]:
    """Describe for a teacher what is held back on this system, and what is not."""
    facts = [
        (protection.other_user, "runs as another user", "runs as you"),
        (protection.no_network, "has no network", "can use the network"),
        (protection.no_reading, "sees no files but its own copy", "can read files that all may read"),
        (protection.no_writing, "writes nowhere else", "can write where its user may write"),
        (protection.no_signals, "reaches no other process", "can signal processes of its user"),
        (protection.hard_end, "leaves no process behind", "could leave a process that hides"),
        (protection.all_counted, "hides no memory", "can use memory or processes that are not counted"),
    ]
    if not protection.other_user and protection.no_writing:
        # In namespaces of its own, it has your number and none of your files.
        facts[0] = (True, "has none of your rights", "")
    held = [good for works, good, _ in facts if works]
    held.append(
        f"is stopped after {limits.time:g} s, at {size_text(limits.memory)} of memory, "
        f"{size_text(limits.disk)} on disk, {limits.processes} processes or {size_text(limits.output)} of "
        "output"
    )
    lines = ["Each submission is code of a stranger. Here it " + ", ".join(held) + "."]
    if open_ := [bad for works, _, bad in facts if not works]:
        lines.append("NOT prevented on this system: it " + ", ".join(open_) + ".")
    lines.append(
        "Not prevented anywhere: faults of the kernel, and a net that lies to the code that judges it in its "
        "own process."
    )
    return lines


def container_line(
    place: Path, out: Path, files: Mapping[str, str], limits: Limits, jobs: int, *, cache: Path
) -> str:
    """Return a command that grades in a container, without network and with limits of the system.

    Args:
        place: Of the submissions.
        out: Of the results.
        files: Values of options such as `--brief`, by option: names, or paths of TOML files.
        limits: Of one submission.
        jobs: Submissions at a time.
        cache: The folder with the decoded images.
    """
    memory = max(1, round(limits.memory * jobs / 2**30))
    # The paths of a CSV file are relative to its folder.
    folder, inside_class = (place, "/class") if place.is_dir() else (place.parent, f"/class/{place.name}")
    mounts = [
        f"-v {_quoted(folder.resolve())}:/class:ro",
        f"-v {_quoted(out.resolve())}:/graded",
        f"-v {_quoted(cache.resolve())}:/cache",
    ]
    options = []
    for option, value in files.items():
        if value.endswith(".toml"):
            inside = f"/{option.strip('-')}.toml"
            mounts.append(f"-v {_quoted(Path(value).resolve())}:{inside}:ro")
            options.append(f"{option} {inside}")
        elif value:
            options.append(f"{option} {shlex.quote(value)}")
    return (
        f"docker run --rm --network none --memory {memory}g --pids-limit {limits.processes * jobs + 100} "
        f"--read-only --tmpfs /tmp:size={memory}g --cap-drop ALL --security-opt no-new-privileges "
        f"--user $(id -u):$(id -g) -e HOME=/tmp -e CONVSMITH_CACHE=/cache {' '.join(mounts)} "
        f"IMAGE convsmith grade {shlex.quote(inside_class)} {' '.join(options)} --out /graded"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
