"""A user's module that is ready to be created, and the errors of its constructor."""

import inspect
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from torch import nn

from convsmith.errors import ModuleError, suggest
from convsmith.modules.inspection import arguments_text, builders, module_names
from convsmith.modules.limits import limited, raising_place
from convsmith.modules.reference import ModuleReference
from convsmith.modules.sources import SourceFiles
from convsmith.modules.stand_ins import StandIn, StandInError, stand_in_error
from convsmith.modules.statements import definitions
from convsmith.modules.user_files import UserFiles
from convsmith.text import one_line
from convsmith.tracing.copies import copy_module
from convsmith.tracing.isolation import preserved_state
from convsmith.tracing.places import Places

NOT_INSTALLED = " is not installed"
# In PyTorch's errors where there is no GPU.
_GPU = re.compile(r"\b(CUDA|NVIDIA|MPS|mps)\b")
_MOST_BUILDERS = 5
_MOST_NOTES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModule:
    """A module of the user's own.

    Attributes:
        reference: Its name.
        factory: The class, the function that makes the module, or the module itself.
        package: Of an installed package its name and version, "timm 1.0.9"; empty for a file.
        notes: What the user should know: what of the file was not run, which of several definitions was
            taken.
        left_out: Every statement of the files that was not run or failed, with its place and the reason.
        places: Where its layers are made and called.
    """

    reference: ModuleReference
    factory: Any
    package: str = ""
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = field(default=(), repr=False)
    files: UserFiles | None = field(default=None, repr=False)
    places: Places = field(default_factory=lambda: Places(locate=_no_location), repr=False)

    @property
    def sources(self) -> SourceFiles | None:
        """The files that were read so far; None for an installed package.

        A constructor or a forward pass may import more of them: create and run the module first.
        """
        return self.files.sources if self.files else None

    @property
    def local_reference(self) -> ModuleReference:
        """The reference to the same net in a copy of its files: to `sources.main`."""
        sources = self.sources
        return replace(self.reference, place=sources.main) if sources else self.reference

    def create(self) -> nn.Module:
        """Create the module, with weights from PyTorch's global generator; a module in a file is copied.

        Raises:
            ModuleError: The arguments do not fit, the constructor fails or does not end, or makes no module.
        """
        if isinstance(self.factory, nn.Module):
            copied = copy_module(self.factory)
            self.places.follow_copy(self.factory, copied)
            return copied
        reference, where = self.reference, self.reference.place
        self._check_arguments()
        try:
            with self.limited(f"the constructor of {reference.name}"), self.places.recording():
                net = self.factory(*reference.args, **reference.kwargs)
        except ModuleError:
            raise
        except Exception as error:
            raise self.failure(error, f"the constructor of {reference.name} fails") from error
        if not isinstance(net, nn.Module):
            raise ModuleError(
                f"{reference.name} returns a {type(net).__name__}, expected a torch.nn.Module",
                where=where,
                fix=suggest(reference.name, self._module_names()),
            )
        return net

    def limited(self, activity: str) -> AbstractContextManager[None]:
        """Run a block of the module's code, such as a first forward pass, within limits as its constructor.

        Raises:
            ModuleError: It does not end, exits, or asks for input.
        """
        return limited(activity, self.reference.place, self.locate)

    def failure(self, error: BaseException, what: str) -> ModuleError:
        """Return the error for an exception that the user's code raised, with its place and its cause."""
        place = raising_place(error, self.locate)
        text = one_line(str(error).strip())
        kind = "" if isinstance(error, StandInError) else f"{type(error).__name__}: "
        context, fix = self.explanation(error)
        return ModuleError(
            f"{what}: {kind}{text}",
            where=place or self.reference.place,
            context=context,
            fix=fix or "check its arguments",
        )

    def explained(self, error: ModuleError) -> ModuleError:
        """Return an error of the module's forward pass with its explanation, if there is one."""
        context, fix = self.explanation(error.__cause__) if error.__cause__ else ("", "")
        (problem,) = error.problems
        if not fix:
            return error
        return ModuleError.of(
            [replace(problem, context="\n".join(filter(None, (problem.context, context))), fix=fix)]
        )

    def explanation(self, error: BaseException | None) -> tuple[str, str]:
        """Return why a name, a package or a GPU is missing, and the fix; both are empty for other errors."""
        if isinstance(error, StandInError):
            return "", install_fix(str(error), self.files)
        if isinstance(error, NameError) and self.files:
            for file, omission in self.files.omissions:
                if {error.name, "*"} & omission.names:
                    return (
                        f"{file}, {omission.place}, was left out: {omission.words} ({omission.reason})",
                        f"define {error.name} by a constant, or pass it as an argument of the constructor",
                    )
        if _GPU.search(str(error)):
            return "", "create it on the CPU, without .cuda() and .to(...): train.device chooses the device"
        return "", ""

    def locate(self, frame: FrameType, line: int) -> str:
        """Return the place of a frame in the user's files, "model.py, line 3"; empty elsewhere."""
        return self.files.place(frame, line) if self.files else ""

    def _check_arguments(self) -> None:
        reference = self.reference
        try:
            signature = inspect.signature(self.factory)
        except (TypeError, ValueError):  # Some classes have none.
            return
        try:
            signature.bind(*reference.args, **reference.kwargs)
        except TypeError as error:
            given = replace(reference, args=(), kwargs={})
            named = str(given).removesuffix("()")
            raise ModuleError(
                f"{reference.name}({arguments_text(self.factory)}) cannot be created with these arguments: "
                f"{error}",
                where=reference.place,
                fix=f"pass its arguments, as in '{named}({_placeholders(signature)})'{self._builders()}",
            ) from error

    def _builders(self) -> str:
        """Name the functions of the file that create this class: a class as an argument is no literal."""
        found = builders(self.files, {self.reference.name}) if self.files else []
        if not found:
            return ""
        names = ", ".join(f"{self.reference.place}:{name}" for name in found[:_MOST_BUILDERS])
        more = ", ..." if len(found) > _MOST_BUILDERS else ""
        return f", or name what creates it: {names}{more}"

    def _module_names(self) -> list[str]:
        return module_names(self.files) if self.files else []


def _no_location(file: str, line: int) -> None:
    """Return no place: the lines of an installed package are not the user's."""
    del file, line


def load_reference(reference: ModuleReference, files: UserFiles) -> LoadedModule:
    """Run a file and look a name up in it; a reference without a name only runs it.

    Raises:
        ModuleError: The file fails, or has no such class.
    """
    places = Places(locate=files.location)
    with preserved_state(), limited("the file", reference.place, files.place), places.recording():
        module = files.load(reference.name.partition(".")[0], reference.occurrence)
    loaded = LoadedModule(
        reference=reference,
        factory=None,
        notes=tuple(_notes(reference, files)),
        left_out=tuple(f"{file}, {omission}" for file, omission in files.omissions),
        files=files,
        places=places,
    )
    if not reference.name:
        return loaded
    try:
        return replace(loaded, factory=_factory(module, reference, files))
    except ModuleError:
        files.forget()
        raise


def _factory(module: ModuleType, reference: ModuleReference, files: UserFiles) -> Any:
    first, *rest = reference.name.split(".")
    count = definitions(files.texts[files.path].body)[first]
    if reference.occurrence is not None and reference.occurrence > count:
        raise ModuleError(
            f"found {count} definitions of {first}, expected at least {reference.occurrence}",
            where=reference.place,
            fix=f"write {first}#1 for the first" if count > 1 else f"write {first}",
        )
    try:
        value = reduce(getattr, rest, vars(module)[first])
    except (KeyError, AttributeError):
        raise _missing(reference, files) from None
    if isinstance(value, StandIn):
        error = stand_in_error(value)
        raise ModuleError(str(error), where=reference.place, fix=install_fix(str(error), files))
    if isinstance(value, nn.Module) and (reference.args or reference.kwargs):
        raise ModuleError(
            f"{reference.name} is a module already, it takes no arguments",
            where=reference.place,
            fix=f"write {reference.place}:{reference.name}, or name its class {type(value).__name__}",
        )
    if not callable(value):
        raise ModuleError(
            f"{reference.name} is a {type(value).__name__}, expected a class or function that makes a module",
            where=reference.place,
            fix=suggest(reference.name, module_names(files)),
        )
    return value


def _missing(reference: ModuleReference, files: UserFiles) -> ModuleError:
    first = reference.name.partition(".")[0]
    for file, omission in files.omissions:
        if first in omission.names:
            return ModuleError(
                f"{first} was left out: {omission.reason}",
                where=f"{file}, {omission.place}",
                context=omission.words,
                fix=install_fix(omission.reason, files)
                if NOT_INSTALLED in omission.reason
                else "name a class, or a function that makes the net",
            )
    names = module_names(files)
    return ModuleError(
        f"no class {reference.name!r} in this file",
        where=reference.place,
        fix=suggest(reference.name, names) or "name a file with a class that derives from torch.nn.Module",
    )


def _notes(reference: ModuleReference, files: UserFiles) -> Iterator[str]:
    run = files.runs[files.path]
    if run.refused or run.source.is_notebook:
        count = sum(1 for each in run.omissions if each.names != {"*"})
        if count:
            first = run.omissions[0]
            yield (
                f"only imports, definitions and constants of {reference.place} are run; left out: {count} "
                f"statement{'' if count == 1 else 's'}, the first in {first.place}: {first.words}"
            )
    name = reference.name.partition(".")[0]
    count = definitions(run.source.body)[name]
    if count > 1 and reference.occurrence is None:
        yield f"{reference.place} defines {name} {count} times; this is the last, {name}#1 is the first"


def install_fix(text: str, files: UserFiles | None) -> str:
    """Return the fix for a package that is not there."""
    if NOT_INSTALLED not in text:
        return "name a net that does not need it"
    package = text.split(NOT_INSTALLED, maxsplit=1)[0].rsplit(maxsplit=1)[-1]
    if clone := files.clone_of(package) if files else "":
        return (
            f"put the notebook's own files beside it: git clone {clone}; or install it: pip install {package}"
        )
    if found := files.below(f"{package}.py") if files else "":
        return f"name {found}:Net, or make the file find it: sys.path.append({str(Path(found).parent)!r})"
    return f"install it: pip install {package}; a file {package}.py of yours belongs beside this one"


def _placeholders(signature: inspect.Signature) -> str:
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return ", ".join(
        f"{each.name}=10"
        for each in signature.parameters.values()
        if each.default is each.empty and each.kind in (*plain, inspect.Parameter.KEYWORD_ONLY)
    )
