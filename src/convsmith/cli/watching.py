"""A run in another terminal: a table that grows, in place in a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from convsmith.cli.output import say
from convsmith.runs.progress import RunProgress, table_header, table_row

SHOWN = 20


def watch(read: Callable[[], RunProgress], *, every: float, once: bool) -> None:
    """Show a run until nothing more is to come.

    Args:
        read: Reads the run's state anew.
        every: Seconds between readings.
        once: Show the state as it is, and leave.
    """
    if once or not sys.stdout.isatty():
        _in_lines(read, every=every, once=once)
    else:
        _in_place(read, every=every)


def _in_lines(read: Callable[[], RunProgress], *, every: float, once: bool) -> None:
    say(table_header())
    shown = 0
    while True:
        state = read()
        for row in state.rows[shown:]:
            say(table_row(row))
        shown = len(state.rows)
        if state.done or once:
            say(state.line())
            return
        time.sleep(every)


def _in_place(read: Callable[[], RunProgress], *, every: float) -> None:
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            state = read()
            rows = [table_row(row) for row in state.rows[-SHOWN:]]
            live.update(Text("\n".join([table_header(), *rows, "", state.line()])), refresh=True)
            if state.done:
                return
            time.sleep(every)
