"""The command line: parses, calls the verbs, shows what they return, maps errors to exit codes."""

import os
import re
import sys
import tempfile
import traceback
from typing import Any

from convsmith.errors import ConvsmithError, InternalError, UsageError, suggest

INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit with its code.

    0: done. 1: the answer is no (a check failed, the training diverged). 2: the caller can mend it.
    101: our own bug. 130: interrupted by Ctrl-C. 143: by SIGTERM.
    """
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; a user's mistake never shows a traceback."""
    import typer

    from convsmith.cli.app import app

    # By way of a public subclass: Typer brings its own click or uses the installed one, by its version.
    usage_error: Any = typer.BadParameter.__mro__[1]
    try:
        # Not `app(...)`: Typer would answer interrupts and closed pipes in its own way.
        command = typer.main.get_command(app)
        with command.make_context("convsmith", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as answer:
        return answer.exit_code
    except usage_error as error:
        return _refuse(_usage(error))
    except ConvsmithError as error:
        return _refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted; a run that had begun is kept, and `convsmith resume RUN` goes on with it")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, `head` for example, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _refuse(_bug(error))
    return 0


def _refuse(error: ConvsmithError) -> int:
    _say(str(error))
    return error.exit_code


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


def _say(text: str) -> None:
    # File and class names come from outside: nothing in them may steer the terminal.
    sys.stderr.write("".join(char if char.isprintable() or char == "\n" else "?" for char in text) + "\n")


def _bug(error: Exception) -> InternalError:
    """Keep the trace in a file, for a report."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="convsmith-trace-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    return InternalError(
        f"internal error: {error!r}",
        fix=f"this is a bug of convsmith; please report it with the trace in {file.name}",
    )
