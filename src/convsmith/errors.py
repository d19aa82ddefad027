"""Every error that a user can cause: what, where, found against expected, what to do.

Each class carries a stable code, which docs/errors.md explains, and the exit code of the command line. An
error holds one or more problems, so that all the mistakes of a recipe are told at once.

>>> error = RecipeError("unknown field 'epoch'", where="train.epoch", fix="did you mean 'epochs'?")
>>> print(error)
error[E030]: train.epoch: unknown field 'epoch'
  fix: did you mean 'epochs'?
"""

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar, Self


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake: `where` names a file, field or position, `context` shows it, `fix` says what to do."""

    what: str
    where: str = ""
    context: str = ""
    fix: str = ""

    def text(self, code: str) -> str:
        """Two lines, or more where `context` has a picture of the place."""
        lines = [f"error[{code}]: " + ": ".join(part for part in (self.where, self.what) if part)]
        lines += [f"  {line}" for line in self.context.splitlines()]
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class ConvsmithError(Exception):
    """Base of all errors that convsmith raises on purpose."""

    code: ClassVar[str] = "E000"
    exit_code: int = 2

    def __init__(self, what: str, *, where: str = "", context: str = "", fix: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what=what, where=where, context=context, fix=fix),)
        super().__init__(what)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Self:
        """One error for several problems, in the order given."""
        problems = tuple(problems)
        error = cls(problems[0].what)
        error.problems = problems
        return error

    def __str__(self) -> str:
        return "\n".join(problem.text(self.code) for problem in self.problems)


class UsageError(ConvsmithError):
    """A command line that is none: an unknown command, option or code of an error."""

    code = "E001"


class FileError(ConvsmithError):
    """A file or folder is missing, unreadable or not what it should be."""

    code = "E010"


class BusyError(FileError):
    """Another process holds a folder."""


class NotationError(ConvsmithError):
    """A network's notation cannot be read."""

    code = "E020"


class ShapeError(ConvsmithError):
    """A network's layers do not fit its input, or each other."""

    code = "E021"


class ModuleError(ConvsmithError):
    """A user's own module cannot be found, made or run."""

    code = "E022"


class RecipeError(ConvsmithError):
    """A recipe is unknown, or a field of it is unknown, missing, mistyped or out of range."""

    code = "E030"


class DataError(ConvsmithError):
    """A data set is missing, unreadable, ambiguous or damaged."""

    code = "E040"


class RunError(ConvsmithError):
    """A run folder is missing, incomplete, damaged or does not fit its data."""

    code = "E050"


class DivergedError(ConvsmithError):
    """Training was stopped because the loss is no longer finite."""

    code = "E060"
    exit_code = 1


class OutOfMemoryError(ConvsmithError):
    """The memory of the machine, of the device, or what the process may have of it, is not enough."""

    code = "E062"


class BundleError(ConvsmithError):
    """A bundle is missing, damaged, of another version, or asks for what no bundle has."""

    code = "E070"


class ParityError(ConvsmithError):
    """An exported model does not answer as the net that it was made from."""

    code = "E071"
    exit_code = 1


class ImageError(ConvsmithError):
    """Images to be classified that cannot be read; the others were classified."""

    code = "E072"
    exit_code = 1


class MissingExtraError(ConvsmithError):
    """Something needs a package of an extra that is not installed."""

    code = "E080"


class DependencyError(ConvsmithError):
    """Something failed, and a package is installed in a version that convsmith does not work with."""

    code = "E081"


class StoppedError(ConvsmithError):
    """Training was stopped by a signal, and can go on from the state that it saved."""

    code = "E061"

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name} {where}; the state is saved")
        # As a shell counts a process that a signal ends: 130 for Ctrl-C, 143 for SIGTERM.
        self.exit_code = 128 + number


class InternalError(ConvsmithError):
    """A bug of convsmith; the command line tells where the trace is."""

    code = "E101"
    exit_code = 101


def suggest(name: str, options: Iterable[str]) -> str:
    """The sentence that leads from a wrong name to a right one.

    >>> suggest("cifar10-clasic", ["digits", "cifar10-classic"])
    "did you mean 'cifar10-classic'?"
    >>> suggest("resnet", ["digits", "cifar10-classic"])
    "choose from 'cifar10-classic', 'digits'"
    """
    options = sorted(set(options))
    near = get_close_matches(name, options, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "choose from " + ", ".join(map(repr, options)) if options else ""
