"""Run one command on a stranger's files: limits, no network, no other files, another user where possible.

What of this a system offers is measured by `protection.detect`. The work is done by `keeper`, a process of
its own.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import convsmith
from convsmith.grading import plain
from convsmith.system import files
from convsmith.text import plural, size_text

Kind = Literal["ok", "crash", "time", "memory", "files", "processes", "output", "no record", "not started"]
RECORD_FOLDER, RECORD = "record", "RECORD.json"
# Seconds that the keeper may take beyond the time of its command, to build and to clear away.
_GRACE = 60
# Numbers that no system gives to its users, so that the processes of a submission are counted apart.
FIRST_USER = 1_900_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one submission may use.

    Attributes:
        time: Seconds from its start to its end.
        memory: Bytes, of all its processes together.
        disk: Bytes of its copy and of all that it writes.
        file_size: Bytes of one file that it writes.
        files: Files and folders of its copy, and those that it creates.
        processes: At a time.
        open_files: Of one process.
        output: Bytes that it prints.
        record: Bytes of its record.
    """

    time: float = 120.0
    memory: int = 4 * 2**30
    disk: int = 2**30
    file_size: int = 2**28
    files: int = 20_000
    processes: int = 64
    open_files: int = 1024
    output: int = 2**24
    record: int = 2**24


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended.

    Attributes:
        kind: "ok" with a record; "crash" by itself; a limit; "no record"; or "not started", which is the
            fault of the system.
        detail: One sentence, for a table; empty for "ok".
        seconds: Of the command.
        output: The begin and the end of what it printed, at most 64 KiB.
        peak_memory: Bytes of all its processes, as far as they were seen; 0 where that is unknown.
        peak_processes: As far as they were seen.
    """

    kind: Kind
    detail: str = ""
    seconds: float = 0
    output: str = ""
    peak_memory: int = 0
    peak_processes: int = 0


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """Which protections are set up: names of `keeper`, and whether the system can count processes apart."""

    parts: tuple[str, ...] = ()
    count_processes: bool = False


@dataclass
class Keepers:
    """The keepers that run, so that all can be ended at once, from any thread."""

    _running: set["subprocess.Popen[bytes]"] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    @contextmanager
    def of(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        with self._lock:
            self._running.add(process)
            if self.stopped:
                process.terminate()
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """End all commands that run, and those that start later."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.terminate()


class Sandbox:
    """A private place for one command, on disk; a context manager that removes it.

    Example:
        >>> with Sandbox() as sandbox:
        ...     outcome = sandbox.run([sys.executable, "-c", "print('hello')"], Limits(time=60))
        >>> outcome.kind, outcome.output
        ('no record', 'hello\\n')
    """

    def __init__(
        self,
        isolation: Isolation | None = None,
        *,
        slot: int = 0,
        keepers: Keepers | None = None,
        parent: Path | None = None,
    ) -> None:
        """Create the folders.

        Args:
            isolation: By default none but limits.
            slot: A number below 10,000 that no other sandbox has at the same time.
            keepers: Where the running command is listed.
            parent: The folder of the place; by default that of temporary files.

        Raises:
            FileError: The folder of temporary files is not writable.
        """
        self.isolation = isolation or Isolation()
        self.slot = slot
        self.keepers = keepers or Keepers()
        try:
            self.base = Path(tempfile.mkdtemp(prefix="convsmith-grade-", dir=parent)).resolve()
            # Another user must get to its folder, not see what is beside it.
            self.base.chmod(0o711)
            self.folder = self.base / "own"
            for folder in (self.folder, self.base / "root", self.folder / RECORD_FOLDER):
                folder.mkdir(mode=0o700)
        except OSError as error:
            raise files.write_error(Path(tempfile.gettempdir()), error) from error

    @property
    def submission(self) -> Path:
        """The place for the private copy of a submission."""
        return self.folder / "submission"

    @property
    def record(self) -> Path:
        """Where the command writes its record."""
        return self.folder / RECORD_FOLDER / RECORD

    @property
    def saved_record(self) -> Path:
        """Where the record is after `run`; an untrusted file of a permitted size."""
        return self.base / RECORD

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.base)

    def run(
        self,
        command: Sequence[str],
        limits: Limits,
        *,
        readable: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a command and return how it ended; nothing that it does raises an exception.

        Args:
            command: The program and its arguments. It works in `folder`.
            limits: What it may use.
            readable: Files and folders that it may read, beside those of the system, Python and convsmith.
            environment: Variables beside those of `scrubbed_environment`.

        Example:
            >>> with Sandbox() as sandbox:
            ...     sandbox.run([sys.executable, "-c", "raise SystemExit(3)"], Limits(time=60)).detail
            'exit code 3'
        """
        self.saved_record.unlink(missing_ok=True)
        specification = {
            "command": list(command),
            "folder": str(self.folder),
            "root": str(self.base / "root"),
            "record": RECORD,
            "save": str(self.saved_record),
            "environment": {**scrubbed_environment(self.folder), **(environment or {})},
            "readable": [*python_paths(), *map(str, readable)],
            "isolation": list(self.isolation.parts),
            "user": FIRST_USER + self.slot,
            "time": limits.time,
            "memory": limits.memory,
            "disk": limits.disk,
            "file_size": limits.file_size,
            "files": limits.files,
            "processes": limits.processes,
            "open_files": limits.open_files,
            "output": limits.output,
            "record_size": limits.record,
            "count_processes": self.isolation.count_processes,
        }
        return outcome_of(self._keep(specification, limits), limits)

    def _keep(self, specification: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Start the keeper, wait for its result and return it."""
        if os.name == "nt":
            return plain.run(specification)
        process = subprocess.Popen(  # noqa: S603 - convsmith itself
            [sys.executable, "-P", "-m", "convsmith.grading.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C in the terminal is for convsmith, which ends the keepers.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": package_folder(), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        with self.keepers.of(process):
            try:
                out, err = process.communicate(json.dumps(specification).encode(), limits.time + _GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return {"limit": "time", "seconds": limits.time}
            except BaseException:
                process.terminate()
                process.wait(_GRACE)
                raise
        try:
            result: dict[str, Any] = json.loads(out)
        except ValueError:
            if process.returncode == 128 + signal.SIGTERM or self.keepers.stopped:
                return {"problem": "stopped"}
            lines = err.decode("utf-8", "replace").strip().splitlines()
            return {"problem": lines[-1] if lines else f"the guard ended with code {process.returncode}"}
        return result


def outcome_of(result: Mapping[str, Any], limits: Limits) -> Outcome:
    """Put the result of a keeper into words."""
    kind, detail = _kind(result, limits)
    return Outcome(
        kind=kind,
        detail=detail,
        seconds=round(result.get("seconds", 0), 2),
        output=result.get("output", ""),
        peak_memory=result.get("peak_memory", 0),
        peak_processes=result.get("peak_processes", 0),
    )


def _kind(result: Mapping[str, Any], limits: Limits) -> tuple[Kind, str]:
    limit: Kind
    match result.get("limit", ""):
        case "time":
            return "time", f"stopped after {limits.time:g} seconds"
        case "memory":
            return "memory", f"stopped at {size_text(result['peak_memory'])} of memory; " + _allowed(
                size_text(limits.memory)
            )
        case "processes":
            count = plural(result["peak_processes"], "process").replace("processs", "processes")
            return "processes", f"stopped at {count}; {_allowed(str(limits.processes))}"
        case "output":
            return "output", f"stopped after printing {size_text(result['printed'])}; " + _allowed(
                size_text(limits.output)
            )
        case "files":
            return "files", f"stopped: it wrote more than {size_text(limits.disk)} or {limits.files:,} files"
    if result.get("problem"):
        return "not started", f"it could not be run: {result['problem']}"
    return _end(result, limits)


def _allowed(limit: str) -> str:
    return f"{limit} are allowed"


def _end(result: Mapping[str, Any], limits: Limits) -> tuple[Kind, str]:
    """Describe a command that no limit of the keeper ended."""
    code = result.get("exit_code")
    if code is None:
        return "crash", "it ended the process that watched it"
    last = _last_line(result.get("output", ""))
    if code == -getattr(signal, "SIGXCPU", 24):
        return "time", f"stopped after {limits.time:g} seconds of all cores"
    if code == -getattr(signal, "SIGXFSZ", 25):
        return "files", f"stopped: a file of more than {size_text(limits.file_size)}"
    if code == 0 and result.get("record"):
        return "ok", ""
    if result.get("disk_full"):
        return "files", f"it wrote more than {size_text(limits.disk)} or {limits.files:,} files"
    if last.startswith("MemoryError") or "can't allocate memory" in last:
        return "memory", f"it needs more than {size_text(limits.memory)} of memory"
    if code < 0:
        return "crash", f"ended by {_signal_name(-code)}" + (f": {last}" if last else "")
    if code > 0:
        return "crash", f"exit code {code}" + (f": {last}" if last else "")
    if result.get("record_problem") not in {None, "", os.strerror(2)}:
        return "no record", f"it ended with a record that cannot be read: {result['record_problem']}"
    return "no record", "it ended before it was judged, with exit code 0"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def scrubbed_environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command: none of the user's, except those that Python needs to start.

    Args:
        folder: The folder of the command; it is its home.
    """
    kept = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT", "NUMBER_OF_PROCESSORS")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "USER": "submission",
        "PYTHONPATH": package_folder(),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "CONVSMITH_PROGRESS": "0",
        "CONVSMITH_CACHE": str(folder / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        # One arena a core would reserve address space.
        "MALLOC_ARENA_MAX": "2",
    }


def package_folder() -> str:
    """Return the folder that `import convsmith` found the package in."""
    return str(Path(convsmith.__file__).resolve().parents[1])


def python_paths() -> list[str]:
    """Return what Python needs to read: its installation, its packages, and convsmith."""
    import site

    packages = [*site.getsitepackages(), site.getusersitepackages()]
    every = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *packages]
    every += [str(Path(convsmith.__file__).resolve().parent)]
    return sorted({path for path in every if Path(path).exists()})


def remove(folder: Path) -> None:
    """Remove a folder, even if the rights of its folders were taken away."""
    def retry(function: Any, path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            Path(path).chmod(0o700)
            function(path)

    shutil.rmtree(folder, onerror=retry)

