"""The command line: parse arguments, call the API, print the result, map errors to exit codes."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from convsmith.errors import ConvsmithError, FileError, InternalError, OutOfMemoryError, UsageError, suggest
from convsmith.system.signals import STOP_SIGNALS
from convsmith.system.torchrun import EXIT_CODE, own_rank

# Sent by `kill`, by a terminal or connection that closes, and by batch systems.
_TERMINATION_SIGNALS = tuple(number for number in STOP_SIGNALS if number != signal.SIGINT)


class _TerminatedError(BaseException):
    """A termination signal, as an exception, so that the command cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 for success; 1 for a negative result (a check failed, the training diverged, the data is
    damaged); 2 for an error that the user can correct; 101 for an internal error; 128 plus its number after
    a signal, such as 130 after Ctrl-C and 143 after SIGTERM.
    """
    if "_CONVSMITH_COMPLETE" in os.environ:
        from convsmith.cli.app import app

        app(prog_name="convsmith")
    if own_rank():
        _silence()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code. No error shows a traceback."""
    _open_closed_streams()
    try:
        import typer

        from convsmith.cli.app import app
    except ImportError as error:
        return _fail(_unexpected(error))
    # Reached through a public subclass: Typer either vendors click or uses the installed package.
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        # Not `app(...)`: Typer would handle interrupts and closed pipes itself.
        command = typer.main.get_command(app)
        with _termination_as_exception(), command.make_context("convsmith", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as exit_request:
        return exit_request.exit_code
    except usage_error as error:
        return _fail(_usage(error, arguments))
    except ConvsmithError as error:
        return _fail(error)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(signal.SIGINT, arguments)
    except _TerminatedError as error:
        return _interrupted(error.number, arguments)
    except OSError as error:
        return _output_failed(error) if _is_output_error(error) else _fail(_system_error(error))
    except MemoryError:
        return _fail(
            OutOfMemoryError(
                "out of memory", fix="use fewer or smaller images: data.resize, data.keep_in=disk"
            )
        )
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _fail(_unexpected(error))
    return 0


def _open_closed_streams() -> None:
    """Put the null device in the place of standard streams that are closed, as by `>&-` in a shell."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the exit


def _fail(error: ConvsmithError) -> int:
    from convsmith.cli.output import print_error

    if not own_rank():
        print_error(str(error))
    _record_failure(error)
    return error.exit_code


def _record_failure(error: ConvsmithError) -> None:
    """Write an error where the agent of `torchrun` finds it, also if it ends this process meanwhile.

    The main process has printed that of all.
    """
    import json

    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        record = {"message": str(error), "timestamp": int(time.time()), EXIT_CODE: error.exit_code}
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps(record), encoding="utf-8")


def _silence() -> None:
    """Print nothing: one process of a shared training does."""
    from convsmith.cli.output import discard_output
    from convsmith.system.progress import reporter

    discard_output()
    reporter.muted = True


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    """Raise _TerminatedError for termination signals within the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        del frame
        raise _TerminatedError(number)

    # A signal that the parent process ignores, as `nohup` does, stays ignored.
    handled = [number for number in _TERMINATION_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _interrupted(number: int, arguments: list[str]) -> int:
    from convsmith.cli.output import print_error

    # Once a training or a search has begun, its own error says how far it is.
    kept = {
        "train": "; if a run folder exists, `convsmith resume RUN` continues it",
        "resume": "; the same command continues",
        "search": "; the same command continues",
        "grade": "; with --resume the same command continues",
    }
    if any(each.partition("=")[0] == "--out" for each in arguments):
        kept["predict"] = "; the same command continues"
    print_error(f"interrupted{kept.get(arguments[0] if arguments else '', '')}")
    # The exit code that shells give to a process ended by a signal.
    return 128 + number


def _is_output_error(error: OSError) -> bool:
    """Whether a write to standard output failed: errors of files have a filename or are a FileError."""
    numbers = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
    return error.errno in numbers and error.filename is None


def _system_error(error: OSError) -> ConvsmithError:
    """Describe what the system refused, such as a permission; without the name of a file it is a bug."""
    if error.filename is None:
        return _unexpected(error)
    name = error.filename
    return FileError(
        f"cannot read or write: {error.strerror or error}",
        where=os.fsdecode(name) if isinstance(name, bytes) else str(name),
        fix="check the path and its permissions",
    )


def _output_failed(error: OSError) -> int:
    """Handle a closed pipe, which is not an error, or a full disk, which is."""
    from convsmith.cli.output import discard_output

    discard_output()
    if isinstance(error, BrokenPipeError):
        return 0
    return _fail(
        FileError(
            f"cannot write: {error.strerror or error}",
            where="standard output",
            fix="redirect it to a disk with free space; the files that the command wrote are complete",
        )
    )


def _usage(error: Any, arguments: list[str]) -> UsageError:
    """Describe a wrong command, option or argument, and suggest the nearest valid name."""
    message = error.format_message()
    context = error.ctx
    # An option without its value comes without the command.
    command = context.command_path if context else f"convsmith {arguments[0]}"
    fix = f"see `{command} --help`"
    if (unknown := re.search(r"No such command '(.*?)'", message)) and context:
        message = f"unknown command {unknown[1]!r}"
        fix = suggest(unknown[1], context.command.list_commands(context))
    message = re.sub(r" \(Possible options: .*\)$", "", message)
    if (option := re.search(r"No such option: --([\w-]+)", message)) and context:
        fix = _instead_of_option(option[1], context.command.params) or fix
    if cause := getattr(error.__cause__, "errors", None):
        message = f"{message.partition(': ')[0]}: {_found_and_expected(cause()[0])}"
    return UsageError(f"{message[0].lower()}{message[1:].rstrip('.')}", fix=fix)


def _found_and_expected(details: Any) -> str:
    """Describe the value of an option that Typer has validated with pydantic."""
    from convsmith.system.validation import expectation

    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    return f"found {details['input']!r}, expected {expectation(details)}"


def _instead_of_option(name: str, params: list[Any]) -> str:
    """Return which option or field of the recipe is meant; empty if there is neither."""
    from convsmith.recipes.schema import Recipe
    from convsmith.system.validation import suggest_field

    options = [
        option.removeprefix("--") for each in params for option in each.opts if option.startswith("--")
    ]
    if meant := re.fullmatch(r"did you mean '(.+)'\?", suggest(name, options)):
        return f"did you mean '--{meant[1]}'?"
    takes_fields = any(each.name == "overrides" for each in params)
    found = re.match(r"did you mean '(.+)'", suggest_field(name.replace("-", "_"), Recipe))
    return f"write {found[1]}=VALUE: fields of the recipe have no dashes" if found and takes_fields else ""


def _unexpected(error: Exception) -> ConvsmithError:
    """Blame an incompatible package if there is one, else report a bug and save its traceback."""
    import tempfile
    import traceback

    from convsmith.cli.requirements import unmet_requirements

    if incompatible := unmet_requirements():
        return incompatible
    with tempfile.NamedTemporaryFile(
        "w", prefix="convsmith-trace-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    return InternalError(
        f"internal error: {error!r}",
        fix=f"this is a bug of convsmith; please report it with the trace in {file.name}",
    )
