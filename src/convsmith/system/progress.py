"""Report the progress of long tasks on standard error: a plain line every few seconds."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from convsmith.text import format_duration, printable

# Seconds before the first line of a task, so that short tasks print nothing, and between two lines.
FIRST_AFTER, EVERY = 3.0, 5.0
# The remaining time is estimated after one step in so many.
_LEAST_SHARE = 1000

T = TypeVar("T")


@dataclass
class Reporter:
    """Turns the progress of tasks into lines.

    Attributes:
        write: Called with each line.
        clock: Returns seconds.
        muted: Whether nothing is reported.
    """

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    muted: bool = False
    _task: str = field(default="", init=False)
    _start: float = field(default=0.0, init=False)
    _done_at_start: int = field(default=0, init=False)
    _last: float | None = field(default=None, init=False)

    def report(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Report that `done` of `total` steps of a task are done; cheap enough for every image.

        Args:
            task: Another name, or fewer steps than before, begins a new task.
            done: The number of steps that are done.
            total: The number of all steps; 0 if it is unknown.
            detail: Further words for the line.
        """
        if self.muted:
            return
        now = self.clock()
        if task != self._task or done <= self._done_at_start:
            self._task, self._start, self._done_at_start, self._last = task, now, done, None
        due = now - self._start >= FIRST_AFTER if self._last is None else now - self._last >= EVERY
        if not due:
            return
        self._last = now
        seconds = now - self._start
        parts = [f"{format_duration(seconds)} so far"]
        if total:
            parts = [f"{done:,} of {total:,} ({100 * done // total} %)"]
            # The first steps may have waited for what all need: no estimate follows from them.
            if self._done_at_start + total // _LEAST_SHARE < done < total:
                left = seconds * (total - done) / (done - self._done_at_start)
                parts.append(f"about {format_duration(left)} left")
        self.write(f"{task}: {', '.join([*parts, *filter(None, [detail])])}")


def _write_to_stderr(line: str) -> None:
    # A closed standard error, or none at all, stops no training.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


reporter = Reporter(_write_to_stderr, muted=os.environ.get("CONVSMITH_PROGRESS", "") == "0")


def report(task: str, done: int, total: int, detail: str = "") -> None:
    """Report that `done` of `total` steps of a task are done, as `Reporter.report`."""
    reporter.report(task, done, total, detail)


def track(items: Iterable[T], task: str, total: int) -> Iterator[T]:
    """Yield items, and report how many are done.

    >>> list(track("abc", "Reading", 3))
    ['a', 'b', 'c']
    """
    report(task, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        report(task, done, total)


@contextlib.contextmanager
def waiting(task: str) -> Iterator[None]:
    """Report, from a thread, that a task without steps is still running."""
    finished = threading.Event()

    def repeat() -> None:
        while not finished.wait(1.0):
            report(task, 0, 0)

    report(task, -1, 0)
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Report nothing for the block: parts of a task that reports itself."""
    muted, reporter.muted = reporter.muted, True
    try:
        yield
    finally:
        reporter.muted = muted


def show_progress(*, show: bool = True) -> None:
    """Switch the progress of long tasks on standard error on or off.

    It is on, unless the environment variable CONVSMITH_PROGRESS is 0.

    Example:
        >>> import convsmith as cs
        >>> cs.show_progress(show=False)
    """
    reporter.muted = not show
