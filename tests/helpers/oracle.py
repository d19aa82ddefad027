"""Check the result of a command after a fault: exit code, error text, and that no other file has changed."""

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
from convsmith.system.folders import cache_folder


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


class Oracle:
    """Records the files of folders before a fault, and checks the result of a command.

    Args:
        folders: Folders whose files must not change.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.before = contents(*folders)

    def expect_error(
        self, *arguments: str, exit_code: int = 2, code: str, names: tuple[str, ...] = ()
    ) -> CommandResult:
        """Run a command in this process and check that it fails with an error code."""
        result = in_process(*arguments)
        self.check(result, exit_code=exit_code, code=code, names=names)
        return result

    def check(
        self, result: CommandResult, *, exit_code: int, code: str | None = None, names: tuple[str, ...] = ()
    ) -> None:
        """Raise AssertionError unless the result is as expected; `code` None expects no error output."""
        output = f"exit {result.code}\n{result.out}\n{result.err}"
        assert result.code == exit_code, output
        if code is None:
            assert result.err == "", output
        else:
            assert re.match(rf"error\[{code}\]: \S", result.err), output
        for name in names:
            assert name in result.err, output
        for text in (result.out, result.err):
            assert "Traceback" not in text, output
            assert all(char.isprintable() or char == "\n" for char in text), output
        self.check_files()

    def check_files(self) -> None:
        """Check that no file has changed and no temporary file is left, in the cache too."""
        after = contents(*self.folders)
        assert {path: after.get(path) for path in self.before} == self.before
        leftovers = [path for folder in (*self.folders, cache_folder()) for path in temporaries(folder)]
        assert leftovers == []


def contents(*folders: Path) -> dict[Path, str]:
    """Return the SHA-256 of every file."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def temporaries(folder: Path) -> list[Path]:
    """Return the files that an interrupted writer leaves behind."""
    return [
        path
        for path in folder.rglob("*")
        if (path.name.startswith(".") and path.name.endswith((".tmp", ".lock", ".lock.json")))
        or path.name.startswith(".scratch-")
    ]


def in_process(*arguments: str) -> CommandResult:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    return CommandResult(code=code, out=out.getvalue(), err=err.getvalue())


def in_subprocess(script: str, *arguments: str) -> CommandResult:
    """Run a Python script in a new interpreter."""
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return CommandResult(code=process.returncode, out=process.stdout, err=process.stderr)
