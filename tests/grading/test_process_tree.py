"""The descendants of a process are known and ended, with the kernel's lists of children and without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from convsmith.grading import process_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
CODE = "import os, time\nfor _ in range(2): os.fork()\nprint('x', flush=True)\ntime.sleep(60)"


@pytest.fixture
def family() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process with three descendants."""
    with subprocess.Popen([sys.executable, "-S", "-c", CODE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        yield process
        for each in [*process_tree.descendants(process.pid), process.pid]:
            os.kill(each, 9)


def test_descendants(family: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch) -> None:
    known = process_tree.descendants(family.pid)
    assert len(known) == len(set(known)) == 3
    monkeypatch.setattr(process_tree, "_children", lambda process: None)
    assert set(process_tree.descendants(family.pid)) == set(known)
    assert process_tree.descendants(2**22 + 1) == []


def test_memory(family: "subprocess.Popen[bytes]") -> None:
    members = [family.pid, *process_tree.descendants(family.pid)]
    private, proportional = (process_tree.memory(members, limit) for limit in (2**40, 0))
    # Each interpreter has some megabytes of its own; most of them are shared after a fork.
    assert 0 < proportional < 4 * 2**25
    assert private > proportional / 2
    assert process_tree.memory([2**22 + 1], 0) == 0


def test_end_all() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from convsmith.grading import linux, process_tree\n"
        "linux.adopt_orphans()\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {CODE!r}], stdout=subprocess.PIPE)\n"
        "for _ in range(4): child.stdout.readline()\n"
        "child.kill()\n"
        "print(process_tree.end_all(os.getpid()), process_tree.descendants(os.getpid()))"
    )
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "True []\n"
    assert time.monotonic() - start < 50
