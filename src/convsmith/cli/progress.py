"""Show the progress of runs in other processes: a live table in a terminal, plain lines in a pipe."""

import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from convsmith.cli.output import print_text
from convsmith.runs.grid import GridProgress
from convsmith.runs.progress import RunProgress, table_header, table_row

_MAX_ROWS = 20
_GRID_SECONDS = 2.0


def watch(read: Callable[[], RunProgress], *, every: float, once: bool) -> None:
    """Show the progress of a run until it is done.

    Args:
        read: Reads the current progress.
        every: Seconds between two readings.
        once: Show the current progress only.
    """
    if once or not sys.stdout.isatty():
        _print_lines(read, every=every, once=once)
    else:
        _update_table(read, every=every)


def _print_lines(read: Callable[[], RunProgress], *, every: float, once: bool) -> None:
    printed, state = 0, read()
    print_text(table_header(state.evaluated))
    while True:
        for row in state.rows[printed:]:
            print_text(table_row(row))
        printed = len(state.rows)
        if state.done or once:
            print_text(state.line())
            return
        time.sleep(every)
        state = read()


def _update_table(read: Callable[[], RunProgress], *, every: float) -> None:
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            state = read()
            rows = [table_row(row) for row in state.rows[-_MAX_ROWS:]]
            live.update(
                Text("\n".join([table_header(state.evaluated), *rows, "", state.line()])), refresh=True
            )
            if state.done:
                return
            time.sleep(every)


class GridTable:
    """The runs of a grid: in a terminal a table that fills, and above it, or alone, a line for each end.

    Args:
        log: Prints a line where there is no terminal.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._live = (
            Live(console=Console(highlight=False), auto_refresh=False) if sys.stdout.isatty() else None
        )
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def log(self, line: str) -> None:
        """Print a line."""
        if self._live and self._live.is_started:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            self._log(line)

    def watch(self, read: Callable[[], GridProgress]) -> None:
        """Show the table until it is closed."""
        if self._live is None:
            return
        self._live.start()
        self._thread = threading.Thread(target=self._update, args=(self._live, read), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show the table as it is at the end, and no longer update it."""
        self._ended.set()
        if self._thread and self._live:
            self._thread.join()
            self._live.stop()

    def _update(self, live: Live, read: Callable[[], GridProgress]) -> None:
        ended = False
        while True:
            live.update(Text("\n".join(grid_lines(read()))), refresh=True)
            if ended:
                return
            ended = self._ended.wait(_GRID_SECONDS)


def grid_lines(now: GridProgress) -> list[str]:
    """Return the lines of the table: runs that are trained now, then the latest others.

    Example:
        >>> from convsmith.runs.grid import GridRun
        >>> counts = {"done": 2, "epochs": 5, "validation": 0.5}
        >>> run = GridRun(number=1, fields={}, label="seed=0", state="begun", **counts)
        >>> grid_lines(GridProgress(runs=(run,), seconds_left=60))[1]
        'run-001  training     2 of 5      50.00%         -  seed=0'
    """
    order = sorted(now.runs, key=lambda run: (run.state != "begun", -run.number))
    shown = sorted(order[:_MAX_ROWS], key=lambda run: run.number)
    lines = [f"{'run':<8} {'state':<10} {'epochs':>8} {'validation':>11} {'accuracy':>9}  values"]
    for run in shown:
        state = "training" if run.state == "begun" else run.state
        epochs = f"{run.done} of {run.epochs}" if run.epochs else "-"
        validation, accuracy = (
            "-" if each is None else f"{each:.2%}" for each in (run.validation, run.accuracy)
        )
        lines.append(f"{run.name}  {state:<10} {epochs:>8} {validation:>11} {accuracy:>9}  {run.label}")
    return [*lines, "", now.line()]
