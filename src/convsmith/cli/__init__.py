"""The command line: parses, calls the verbs, shows what they return, maps errors to exit codes."""

import errno
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from convsmith.errors import ConvsmithError, FileError, InternalError, OutOfMemoryError, UsageError, suggest

# What ends a process in the usual way: `kill`, and a terminal or connection that is closed.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class _EndedError(BaseException):
    """A signal that ends the process; what is in progress is cleaned up on the way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run the command line, and exit with its code.

    0: done. 1: the answer is no (a check failed, the training diverged, the data is damaged). 2: the caller
    can mend it. 101: our own bug. 129, 130, 143: ended by SIGHUP, Ctrl-C, SIGTERM.
    """
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; a user's mistake never shows a traceback."""
    try:
        import typer

        from convsmith.cli.app import app
    except ImportError as error:
        return _refuse(_unforeseen(error))
    # By way of a public subclass: Typer brings its own click or uses the installed one, by its version.
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        # Not `app(...)`: Typer would answer interrupts and closed pipes in its own way.
        command = typer.main.get_command(app)
        with _ending_signals(), command.make_context("convsmith", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as answer:
        return answer.exit_code
    except usage_error as error:
        return _refuse(_usage(error))
    except ConvsmithError as error:
        return _refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        return _ended(signal.SIGINT)
    except _EndedError as error:
        return _ended(error.number)
    except OSError as error:
        return _unheard(error) if _is_of_output(error) else _refuse(_unforeseen(error))
    except MemoryError:
        return _refuse(
            OutOfMemoryError(
                "out of memory", fix="use fewer or smaller images: data.resize, data.keep_in=disk"
            )
        )
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _refuse(_unforeseen(error))
    return 0


def _refuse(error: ConvsmithError) -> int:
    from convsmith.cli.output import complain

    complain(str(error))
    return error.exit_code


@contextmanager
def _ending_signals() -> Iterator[None]:
    """Turn the signals that would end the process on the spot into an exception, for the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise _EndedError(number)

    # What the parent process wants to be ignored, as `nohup` does, stays so.
    taken = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _ended(number: int) -> int:
    from convsmith.cli.output import complain

    complain("interrupted; a run that had begun is kept, and `convsmith resume RUN` goes on with it")
    # As a shell counts a process that a signal ends.
    return 128 + number


def _is_of_output(error: OSError) -> bool:
    """Whether a failed write was to standard output: that to a file bears its name, or is a FileError."""
    numbers = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
    return error.errno in numbers and error.filename is None


def _unheard(error: OSError) -> int:
    """Standard output takes nothing more: `head` has seen enough, or the disk is full."""
    from convsmith.cli.output import silence

    silence()
    if isinstance(error, BrokenPipeError):
        return 0
    return _refuse(
        FileError(
            f"cannot write: {error.strerror or error}",
            where="standard output",
            fix="send it to a place that is not full; what was made in files is complete",
        )
    )


def _usage(error: Any) -> UsageError:
    """A wrong command, option or argument in two lines, with the nearest legal name."""
    message = error.format_message()
    context = error.ctx
    command = context.command_path if context else "convsmith"
    fix = f"`{command} --help` tells what it takes"
    wrong = re.search(r"No such command '(.*?)'", message)
    if wrong and context:
        message = f"unknown command {wrong[1]!r}"
        fix = suggest(wrong[1], context.command.list_commands(context))
    return UsageError(f"{message[0].lower()}{message[1:]}", fix=fix)


def _unforeseen(error: Exception) -> ConvsmithError:
    """A package that is too old where there is one, else our own bug: its trace is kept for a report."""
    from convsmith.cli.requirements import unmet

    if wrong := unmet():
        return wrong
    with tempfile.NamedTemporaryFile(
        "w", prefix="convsmith-trace-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    return InternalError(
        f"internal error: {error!r}",
        fix=f"this is a bug of convsmith; please report it with the trace in {file.name}",
    )
