"""Exceptions for errors that a user can cause: what, where, what was found and expected, and the fix.

Each class has a stable code, which docs/errors.md explains, and an exit code for the command line. An error
holds one or more problems, so that every error of a recipe is reported at once.

>>> error = RecipeError("unknown field 'epoch'", where="train.epoch", fix="did you mean 'epochs'?")
>>> print(error)
error[E030]: train.epoch: unknown field 'epoch'
  fix: did you mean 'epochs'?
"""

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

# The longest parts of an error that are shown, in characters; a context may hold a net.
_MAX_LENGTH, _MAX_CONTEXT, _MAX_PROBLEMS = 2_000, 30_000, 1_000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One error: `where` names a file, field or position, `context` shows it, `fix` is the remedy."""

    what: str
    where: str = ""
    context: str = ""
    fix: str = ""

    def text(self, code: str) -> str:
        """Format the problem, one part per line."""
        where = _shortened(self.where).replace("\n", "?")
        lines = [f"error[{code}]: " + ": ".join(part for part in (where, _shortened(self.what)) if part)]
        lines += [f"  {line}" for line in _shortened(self.context, _MAX_CONTEXT).splitlines()]
        if self.fix:
            lines.append(f"  fix: {_shortened(self.fix)}")
        return "\n".join(lines)


def _shortened(text: str, length: int = _MAX_LENGTH) -> str:
    """Return a text whose end is left out if it is too long to be read; it may quote a file of any size."""
    return text if len(text) <= length else f"{text[:length]}... and {len(text) - length:,} more characters"


class ConvsmithError(Exception):
    """Base class of all errors that convsmith raises on purpose."""

    code: ClassVar[str] = "E000"
    exit_code: int = 2

    def __init__(self, what: str, *, where: str = "", context: str = "", fix: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what=what, where=where, context=context, fix=fix),)
        super().__init__(what)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Self:
        """Return one error for several problems, in their order."""
        problems = tuple(problems)
        error = cls(problems[0].what)
        error.problems = problems
        return error

    def __str__(self) -> str:
        texts = [problem.text(self.code) for problem in self.problems[:_MAX_PROBLEMS]]
        if more := len(self.problems) - len(texts):
            texts.append(f"and {more:,} more errors")
        return "\n".join(texts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send errors as they are; the arguments of a subclass's `__init__` are not kept.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[ConvsmithError], arguments: tuple[Any, ...]) -> ConvsmithError:
    """Return an unpickled error without its attributes."""
    return kind.__new__(kind, *arguments)


class UsageError(ConvsmithError):
    """The command line is invalid: unknown command, option or error code."""

    code = "E001"


class FileError(ConvsmithError):
    """A file or folder is missing, unreadable, not writable or of the wrong format."""

    code = "E010"


class BusyError(FileError):
    """Another process holds a folder."""


class WriteError(FileError):
    """A file cannot be written, for example because the disk is full."""


class NotationError(ConvsmithError):
    """The notation of a net cannot be parsed."""

    code = "E020"


class ShapeError(ConvsmithError):
    """The layers of a net do not fit its input or each other."""

    code = "E021"


class ModuleError(ConvsmithError):
    """A user's own module cannot be loaded, constructed or run, or weights do not fit it."""

    code = "E022"


class RecipeError(ConvsmithError):
    """A recipe is unknown, or a field of it is unknown, missing, of the wrong type or out of range."""

    code = "E030"


class DataError(ConvsmithError):
    """A data set is missing, unreadable, ambiguous or damaged."""

    code = "E040"


class RunError(ConvsmithError):
    """A run folder is missing, incomplete or damaged, or does not fit its data."""

    code = "E050"


class UntrustedCodeError(ConvsmithError):
    """A run or a bundle holds the code of its net, and the user has not allowed to run it."""

    code = "E051"


class DivergedError(ConvsmithError):
    """Training stopped because the loss is no longer finite."""

    code = "E060"
    exit_code = 1


class OutOfMemoryError(ConvsmithError):
    """The memory of the machine or device, or the memory limit of the process, is exhausted."""

    code = "E062"


class BundleError(ConvsmithError):
    """A bundle is missing, damaged, of an unsupported version, or does not support a request."""

    code = "E070"


class ParityError(ConvsmithError):
    """The outputs of an exported model differ from those of the original net."""

    code = "E071"
    exit_code = 1


class ImageError(ConvsmithError):
    """Some input images are unreadable; the others were classified."""

    code = "E072"
    exit_code = 1


class MissingExtraError(ConvsmithError):
    """A package of an optional extra is not installed."""

    code = "E080"


class DependencyError(ConvsmithError):
    """An operation failed, and an installed package has an unsupported version."""

    code = "E081"


class ProcessError(ConvsmithError):
    """A worker or a process of a training ends, cannot be reached, or has other data or versions."""

    code = "E063"
    exit_code = 75


class StoppedError(ConvsmithError):
    """Training was stopped by a signal; its state is saved and it can be resumed."""

    code = "E061"

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name} {where}; the state is saved")
        # The shell's convention for processes that a signal ends: 130 for Ctrl-C, 143 for SIGTERM.
        self.exit_code = 128 + number


class InternalError(ConvsmithError):
    """A bug in convsmith; the command line names the trace file."""

    code = "E101"
    exit_code = 101


# Names that begin as a wrong one does are all suggested, up to this number.
_MOST_MEANT = 4
# Of a folder's thousands of entries no more are shown; every library has fewer.
_MOST_OPTIONS = 60
# Words that users write for a name that is spelled differently.
_SYNONYMS = {
    "gpu": "cuda",
    "nvidia": "cuda",
    "metal": "mps",
    "apple": "mps",
    "learning_rate": "lr",
    "bs": "batch_size",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "none": "false",
    "sgdm": "sgd",
    "cos": "cosine",
}


def suggest(name: str, options: Iterable[str]) -> str:
    """Return a fix for a wrong name: the closest valid name, or all of them, of very many the first.

    >>> suggest("cifar10-clasic", ["digits", "cifar10-classic"])
    "did you mean 'cifar10-classic'?"
    >>> suggest("resnet", ["digits", "cifar10-classic"])
    "choose from 'cifar10-classic', 'digits'"
    >>> suggest("course-a4", ["course-a1", "course-a4-mnist-8k", "course-a4-mnist-10k"])
    "did you mean 'course-a4-mnist-10k' or 'course-a4-mnist-8k'?"
    """
    from difflib import get_close_matches

    options = sorted(set(options))
    meant = _SYNONYMS.get(name.lower())
    beginning = [each for each in options if each.lower().startswith(f"{name.lower()}-")]
    if meant in options:
        closest = [meant]
    elif 0 < len(beginning) <= _MOST_MEANT:
        closest = beginning
    else:
        closest = get_close_matches(name, options, n=1, cutoff=0.6)
    if closest:
        return f"did you mean {' or '.join(map(repr, closest))}?"
    if not options:
        return ""
    more = f" and {len(options) - _MOST_OPTIONS:,} more" if len(options) > _MOST_OPTIONS else ""
    return f"choose from {', '.join(map(repr, options[:_MOST_OPTIONS]))}{more}"
