"""Print to a terminal, a pipe or a file. Control characters in foreign text are escaped."""

import contextlib
import os
import sys
from collections.abc import Callable

import typer

from convsmith.text import printable


def print_text(text: str) -> None:
    """Print to standard output. Characters that its encoding lacks become `?`."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(printable(text).encode(encoding, "replace").decode(encoding))


def print_error(text: str) -> None:
    """Print to standard error, or do nothing if it is closed."""
    with contextlib.suppress(OSError):
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()


def notes_printer() -> Callable[[str], None]:
    """Return a function that prints each note once, however many outputs are written."""
    printed: set[str] = set()

    def print_note(note: str) -> None:
        if note not in printed:
            printed.add(note)
            print_error(f"Note: {note}")

    return print_note


def until_closed(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that writes until the output is closed, and then does nothing.

    A training continues without its terminal; its log file is complete.
    """
    is_open = True

    def write_if_open(text: str) -> None:
        nonlocal is_open
        if is_open:
            try:
                write(text)
            except OSError:
                is_open = False
                discard_output()

    return write_if_open


def discard_output() -> None:
    """Redirect standard output to the null device, so that Python's flush at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
