"""Locks between processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convsmith.errors import BusyError
from convsmith.system import locks

HOLD = """
import sys
from pathlib import Path
from convsmith.system import locks
with locks.lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    with locks.lock_folder(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
        with pytest.raises(BusyError, match=f"in use by process {os.getpid()} on .* since 20"):  # noqa: SIM117
            with locks.lock_folder(tmp_path):
                pass
    assert list(tmp_path.iterdir()) == []
    with locks.lock_folder(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(BusyError, match=f"in use by process {process.pid} on "):  # noqa: SIM117
            with locks.lock_folder(tmp_path):
                pass
        process.kill()
    (tmp_path / ".a.txt.0123abcd.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    with locks.lock_folder(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".lock.json", ".mine.tmp"}
    assert [path.name for path in tmp_path.iterdir()] == [".mine.tmp"]


def test_waiting_for_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locks.lock_file(path) as first, locks.lock_file(path) as second:
        assert (first, second) == (True, False)
    with locks.lock_file(path, wait=True) as third:
        assert third
    assert not path.exists()
