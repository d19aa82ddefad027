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
from typing import Any, Self

import convsmith
from convsmith.grading import plain
from convsmith.grading.outcome import Limits, Outcome, outcome_of
from convsmith.grading.specification import RECORD_FOLDER, SUBMISSION_FOLDER
from convsmith.system import files

_KEEPER = ("-m", "convsmith.grading.keeper")
RECORD = "RECORD.json"
# Seconds that the keeper may take beyond the time of its command, to build and to clear away.
_GRACE = 60
# Numbers that no system gives to its users: the processes of a submission are counted apart from all others,
# those of another grading included.
_FIRST_USER, _USERS, SLOTS = 1_900_000_000, 240_000_000, 60


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
    r"""A private place for one command, on disk; a context manager that removes it.

    Example:
        >>> with Sandbox() as sandbox:
        ...     outcome = sandbox.run([sys.executable, "-c", "print('hello')"], Limits(time=60))
        >>> outcome.kind, outcome.output
        ('no record', 'hello\n')
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
            slot: A number below `SLOTS` that no other sandbox of this process has at the same time.
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
        return self.folder / SUBMISSION_FOLDER

    @property
    def record(self) -> Path:
        """Where the command writes its record."""
        return self.folder / RECORD_FOLDER / RECORD

    @property
    def saved_record(self) -> Path:
        """Where the record is after `run`; an untrusted file of a permitted size."""
        return self.base / RECORD

    def __enter__(self) -> Self:
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
            command: The program and its arguments. It works in `submission`, or in `folder` if there is none.
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
            "user": _FIRST_USER + (os.getpid() * SLOTS + self.slot % SLOTS) % _USERS,
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
            [sys.executable, "-P", *_KEEPER],
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

    try:
        shutil.rmtree(folder, onerror=retry)
    except RecursionError:
        # Folders in folders without end.
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", str(folder)], check=False, capture_output=True)  # noqa: S603, S607
