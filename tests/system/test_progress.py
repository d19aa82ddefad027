"""Progress of long tasks: a line every few seconds, plain text, with an estimate of the rest."""

import subprocess
import sys
import time
from itertools import pairwise

import pytest

from convsmith.system import progress
from convsmith.system.progress import EVERY, FIRST_AFTER, Reporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(steps: list[tuple[float, str, int, int]], *, muted: bool = False) -> list[tuple[float, str]]:
    """Return the lines with their times of reports at times in seconds."""
    clock = Clock()
    lines: list[tuple[float, str]] = []
    reporter = Reporter(lambda line: lines.append((clock.now - 100, line)), clock, muted=muted)
    for seconds, task, done, total in steps:
        clock.now = 100 + seconds
        reporter.report(task, done, total)
    return lines


def test_a_line_every_few_seconds() -> None:
    lines = lines_of([(0.1 * step, "Training", step, 1000) for step in range(1001)])
    times = [seconds for seconds, _ in lines]
    assert times[0] == pytest.approx(FIRST_AFTER)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([EVERY] * len(gaps))
    assert lines[0][1] == "Training: 30 of 1,000 (3 %), about 01:37 left"
    assert lines[-1][1].startswith("Training: 980 of 1,000 (98 %), about 00:0")


def test_a_short_task_prints_nothing() -> None:
    assert lines_of([(0.1 * step, "Decoding", step, 25) for step in range(26)]) == []


def test_each_task_has_its_own_time() -> None:
    steps = [(float(second), "A", second, 4) for second in range(5)]
    steps += [(5.0 + second, "B", second, 4) for second in range(5)]
    assert [line.split(":")[0] for _, line in lines_of(steps)] == ["A", "B"]


def test_the_estimate_of_a_resumed_task_counts_its_own_steps() -> None:
    lines = lines_of([(0.0, "Training", 900, 1000), (10.0, "Training", 910, 1000)])
    assert lines == [(10.0, "Training: 910 of 1,000 (91 %), about 01:30 left")]


def test_an_unknown_total() -> None:
    assert lines_of([(0.0, "Converting", 0, 0), (4.0, "Converting", 0, 0)]) == []
    lines = lines_of([(0.0, "Converting", -1, 0), (4.0, "Converting", 0, 0), (20.0, "Converting", 0, 0)])
    assert lines == [(4.0, "Converting: 00:04 so far"), (20.0, "Converting: 00:20 so far")]


def test_muted() -> None:
    assert lines_of([(float(step), "Training", step, 1000) for step in range(100)], muted=True) == []


def test_a_task_without_steps_is_reported_by_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    clock = Clock()
    monkeypatch.setattr(progress, "reporter", Reporter(lines.append, clock))
    with progress.waiting("Converting"):
        clock.now += 7
        deadline = time.monotonic() + 20
        while not lines and time.monotonic() < deadline:
            time.sleep(0.05)
    assert lines == ["Converting: 00:07 so far"]


def test_lines_have_no_control_characters() -> None:
    lines = lines_of([(0.0, "Decoding \x1b[2J\r", 0, 9), (5.0, "Decoding \x1b[2J\r", 5, 9)])
    assert len(lines) == 1  # and `_write_to_stderr` cleans it
    code = (
        "import sys; from convsmith.system.progress import _write_to_stderr; "
        "_write_to_stderr('a\\x1b[2J\\rb'); sys.stderr.close(); _write_to_stderr('x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"a?[2J?b\n"


def test_parts_of_a_task_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    clock = Clock()
    monkeypatch.setattr(progress, "reporter", Reporter(lines.append, clock))
    for done in range(1, 5):
        with progress.silent():
            clock.now += FIRST_AFTER
            progress.report("Computing", done, 9)
        progress.report("Predicting", done, 4)
    assert [line.split(",")[0] for line in lines] == [
        "Predicting: 2 of 4 (50 %)",
        "Predicting: 4 of 4 (100 %)",
    ]


def test_no_estimate_follows_from_the_first_steps() -> None:
    """The first of many may have waited until workers were ready."""
    steps = [(0.0, "Decoding", 0, 30_000), (5.0, "Decoding", 1, 30_000), (11.0, "Decoding", 6000, 30_000)]
    assert [line for _, line in lines_of(steps)] == [
        "Decoding: 1 of 30,000 (0 %)",
        "Decoding: 6,000 of 30,000 (20 %), about 00:44 left",
    ]
