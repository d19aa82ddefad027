"""The one judge of all faults: exit code, first line, what is named, and that nothing complete was harmed."""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from convsmith.cli import run
from convsmith.data.cache import cache_folder


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


class Oracle:
    """Watches folders from before a fault on, and judges what it has led to.

    Args:
        folders: Whose files must stay byte for byte as they are.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.before = contents(*folders)

    def refused(self, *arguments: str, exit_code: int = 2, code: str, names: tuple[str, ...] = ()) -> Ended:
        """Run a command in this process; it has to be refused as told."""
        ended = in_process(*arguments)
        self.judge(ended, exit_code=exit_code, code=code, names=names)
        return ended

    def judge(
        self, ended: Ended, *, exit_code: int, code: str | None = None, names: tuple[str, ...] = ()
    ) -> None:
        """Raises AssertionError where anything of the promise is broken; `code` None: nothing is said."""
        told = f"exit {ended.code}\n{ended.out}\n{ended.err}"
        assert ended.code == exit_code, told
        if code is None:
            assert ended.err == "", told
        else:
            assert re.match(rf"error\[{code}\]: \S", ended.err), told
        for name in names:
            assert name in ended.err, told
        for text in (ended.out, ended.err):
            assert "Traceback" not in text, told
            assert all(char.isprintable() or char == "\n" for char in text), told
        self.unharmed()

    def unharmed(self) -> None:
        """Every file is as it was, and no temporaries are left, in the cache neither."""
        after = contents(*self.folders)
        assert {path: after.get(path) for path in self.before} == self.before
        left = [path for folder in (*self.folders, cache_folder()) for path in temporaries(folder)]
        assert left == []


def contents(*folders: Path) -> dict[Path, str]:
    """The SHA-256 of every file."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def temporaries(folder: Path) -> list[Path]:
    """What a writer leaves behind that did not end well."""
    return [
        path
        for path in folder.rglob("*")
        if (path.name.startswith(".") and path.name.endswith((".tmp", ".lock", ".lock.json")))
        or path.name.startswith(".scratch-")
    ]


def in_process(*arguments: str) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def in_process_of_its_own(script: str, *arguments: str) -> Ended:
    """Run Python text in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)
