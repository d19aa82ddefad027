"""Writing to the terminal, to a pipe or to a file: what comes from outside cannot steer it."""

import contextlib
import os
import sys
from collections.abc import Callable

import typer

from convsmith.text import printable


def say(text: str) -> None:
    """Write to standard output; what its encoding lacks becomes `?`."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(printable(text).encode(encoding, "replace").decode(encoding))


def complain(text: str) -> None:
    """Write to standard error; where that is gone too, there is nobody to tell."""
    with contextlib.suppress(OSError):
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()


def while_heard(write: Callable[[str], None]) -> Callable[[str], None]:
    """Write until nobody listens any more: a training goes on without its terminal; its log has it all."""
    heard = True

    def written(text: str) -> None:
        nonlocal heard
        if heard:
            try:
                write(text)
            except OSError:
                heard = False
                silence()

    return written


def silence() -> None:
    """Let what is still written to standard output go nowhere, so that Python's own end is quiet too."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
