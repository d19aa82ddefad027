"""Show the progress of a run in another process: a live table in a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from convsmith.cli.output import print_text
from convsmith.runs.progress import RunProgress, table_header, table_row

_MAX_ROWS = 20


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
