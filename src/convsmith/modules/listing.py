"""The nets in a file, with their parameters where they can be created without arguments."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convsmith.errors import ModuleError
from convsmith.modules.inspection import arguments_text, builders, module_names, required_arguments
from convsmith.modules.loaded import LoadedModule, load_reference
from convsmith.modules.reference import ModuleReference
from convsmith.modules.statements import definitions
from convsmith.modules.user_files import UserFiles
from convsmith.text import one_line
from convsmith.tracing.isolation import preserved_state

# Lines of a list; nets that can be created are all listed.
_MOST = 15


@dataclass(frozen=True, kw_only=True)
class ListedModule:
    """A class of a file, or a function or value of it that makes a net.

    Attributes:
        reference: What to write.
        parameters: Of the net created without arguments; None if it cannot be.
        arguments: Of the class or function, with their defaults: "classes, width=32".
        problem: Why it cannot be created; empty if it can.
    """

    reference: ModuleReference
    parameters: int | None
    arguments: str = ""
    problem: str = ""

    def __str__(self) -> str:
        name = f"{self.reference.name}{f'#{self.reference.occurrence}' if self.reference.occurrence else ''}"
        if self.parameters is not None:
            return f"{name}: {self.parameters:,} parameters"
        return f"{name}({self.arguments}): {self.problem}"


def list_modules(place: str, root: Path | None = None) -> tuple[ListedModule, ...]:
    """Return the nets of a file or notebook, in its order.

    Raises:
        FileError: The file cannot be read.
        ModuleError: It is no Python, or fails.
    """
    files = UserFiles(Path(root, place) if root else Path(place), root)
    whole = load_reference(ModuleReference(place=place, name=""), files)
    try:
        counts = definitions(files.texts[files.path].body)
        names = module_names(files)
        candidates = [*names, *builders(files, set(module_names(files, files.modules))), *_values(files)]
        return tuple(
            listed for name in candidates for listed in _listed(place, name, counts[name], whole, root)
        )
    finally:
        files.forget()


def no_name_error(place: str, listed: tuple[ListedModule, ...]) -> ModuleError:
    """Return the error for a file without the name of a net: the nets that it has, and what to write."""
    ready = [each for each in listed if each.parameters] or [each for each in listed if each.parameters == 0]
    if not listed:
        return ModuleError(
            "no net in this file: no class derives from torch.nn.Module",
            where=place,
            fix="name the file that defines it, for example model.py:Net",
        )
    lines = [str(each) for each in (*ready, *(each for each in listed if each.parameters is None))]
    most = max(len(ready), _MOST)
    if len(lines) > most:
        lines = [*lines[:most], f"and {len(lines) - most:,} more, which need arguments"]
    chosen = str((ready or list(listed))[-1 if len(ready) == 1 else 0].reference)
    if not ready:
        chosen = f"{chosen}({listed[0].arguments})"
    return ModuleError(
        "the name of a class is missing",
        where=place,
        context="\n".join(lines),
        fix=f"write {chosen}" if len(ready) == 1 else f"choose one, for example {chosen}",
    )


def _values(files: UserFiles) -> Iterator[str]:
    """Yield the modules that are no instances of the file's own classes: `net = nn.Sequential(...)`."""
    for name, value in vars(files.module).items():
        loss = type(value).__module__ == nn.modules.loss.__name__
        if isinstance(value, nn.Module) and not loss and not files.owns(type(value)):
            yield name


def _listed(
    place: str, name: str, count: int, whole: LoadedModule, root: Path | None
) -> Iterator[ListedModule]:
    value = vars(_files(whole).module)[name]
    if count < 2 or isinstance(value, nn.Module):
        reference = ModuleReference(place=place, name=name)
        if found := _measured(replace(whole, reference=reference, factory=value)):
            yield found
        return
    for occurrence in range(1, count + 1):
        reference = ModuleReference(place=place, name=name, occurrence=occurrence)
        files = UserFiles(_files(whole).main, root)
        try:
            if found := _measured(load_reference(reference, files)):
                yield found
        except ModuleError as error:
            yield ListedModule(reference=reference, parameters=None, problem=_first(error))
        finally:
            files.forget()


def _files(loaded: LoadedModule) -> UserFiles:
    assert loaded.files is not None, "it comes from a file"
    return loaded.files


def _measured(loaded: LoadedModule) -> ListedModule | None:
    """Count the parameters of a net; None for a function that makes something else."""
    reference, arguments = loaded.reference, arguments_text(loaded.factory)
    if required_arguments(loaded.factory):
        problem = "needs arguments"
        return ListedModule(reference=reference, parameters=None, arguments=arguments, problem=problem)
    try:
        parameters = _parameters(loaded)
    except ModuleError as error:
        if not isinstance(loaded.factory, type) and "expected a torch.nn.Module" in _first(error):
            return None
        return ListedModule(reference=reference, parameters=None, arguments=arguments, problem=_first(error))
    return ListedModule(reference=reference, parameters=parameters, arguments=arguments)


def _parameters(loaded: LoadedModule) -> int:
    """Count the parameters: without memory for them, or in memory if the constructor computes with values."""
    with preserved_state():
        if not isinstance(loaded.factory, nn.Module):
            with contextlib.suppress(ModuleError), torch.device("meta"):
                return _count(loaded.create())
        return _count(loaded.create())


def _count(net: nn.Module) -> int:
    members: list[Any] = list(net.parameters())
    return sum(each.numel() for each in members if not is_lazy(each))


def _first(error: ModuleError) -> str:
    return one_line(error.problems[0].what)
