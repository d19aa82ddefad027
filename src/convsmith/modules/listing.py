"""The nets in a file, with their parameters where they can be created without arguments."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convsmith.errors import ConvsmithError, ModuleError
from convsmith.modules.inspection import arguments_text, builders, module_names, required_arguments
from convsmith.modules.loaded import NOT_INSTALLED, LoadedModule, install_fix, load_reference
from convsmith.modules.reference import ModuleReference
from convsmith.modules.statements import definitions
from convsmith.modules.user_files import UserFiles
from convsmith.text import one_line
from convsmith.tracing.isolation import preserved_state

# Lines of a list; nets that can be created are all listed.
_MOST = 15
_MOST_MISSING = 5


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
    return _nets(place, UserFiles(Path(root, place) if root else Path(place), root), root)


def _nets(place: str, files: UserFiles, root: Path | None) -> tuple[ListedModule, ...]:
    whole = load_reference(ModuleReference(place=place, name=""), files)
    try:
        found = list(_of_main(place, whole, files, root))
        if any(each.parameters for each in found):
            return tuple(found)
        # A notebook or script that imports the module of its nets: `import model`.
        folder = Path(place).parent
        others = [path for path in files.texts if path != files.path]
        for other in others:
            name = (folder / files.shown(other)).as_posix()
            with contextlib.suppress(ConvsmithError):
                again = UserFiles(Path(root, name) if root else Path(name), root)
                loaded = load_reference(ModuleReference(place=name, name=""), again)
                found += [each for each in _of_main(name, loaded, again, root) if _is_of(each, again)]
        return tuple(found)
    finally:
        files.forget()


def _of_main(place: str, whole: LoadedModule, files: UserFiles, root: Path | None) -> Iterator[ListedModule]:
    """Yield the nets of the main file: its classes, what creates them, and modules that it creates."""
    counts = definitions(files.texts[files.path].body)
    classes = files.runs[files.path].classes
    defined = [name for name, each in classes.items() if any(issubclass(value, nn.Module) for value in each)]
    names = list(dict.fromkeys([*defined, *module_names(files)]))
    ready = set()
    functions = builders(files, set(module_names(files, files.modules)))
    functions += [name for name, value in vars(files.module).items() if _is_variant(value, files)]
    for name in [*names, *functions]:
        for listed in _listed(place, name, counts[name], whole, root):
            if listed.parameters is not None:
                ready.add(name)
            yield listed
    for name, value in list(vars(files.module).items()):
        loss = type(value).__module__ == nn.modules.loss.__name__
        if isinstance(value, nn.Module) and not loss and type(value).__name__ not in ready:
            yield from _listed(place, name, 1, whole, root)


def _is_variant(value: Any, files: UserFiles) -> bool:
    """Whether a value is a function of the user's with some of its arguments."""
    return isinstance(value, partial) and files.owns(value.func)


def _is_of(listed: ListedModule, files: UserFiles) -> bool:
    """Whether a net is defined in the main file itself."""
    value = vars(files.module).get(listed.reference.name)
    return getattr(value, "__module__", "") == files.module.__name__


def no_name_error(place: str, root: Path | None = None) -> ModuleError:
    """Return the error for a file without the name of a net: the nets that it has, and what to write.

    Raises:
        FileError, ModuleError: As `list_modules`.
    """
    files = UserFiles(Path(root, place) if root else Path(place), root)
    listed = _nets(place, files, root)
    ready = [each for each in listed if each.parameters] or [each for each in listed if each.parameters == 0]
    if not listed:
        # What is called a net comes first.
        missing = sorted(
            (pair for pair in files.omissions if NOT_INSTALLED in pair[1].reason),
            key=lambda pair: not {"model", "net", "network"} & pair[1].names,
        )
        text = missing[0][1].reason if missing else ""
        return ModuleError(
            "no net in this file: no class derives from torch.nn.Module",
            where=place,
            context="\n".join(f"{file}, {each}" for file, each in missing[:_MOST_MISSING]),
            fix=install_fix(text, files) if text else "name the file that defines it, as in model.py:Net",
        )
    lines = [str(each) for each in (*ready, *(each for each in listed if each.parameters is None))]
    most = max(len(ready), _MOST)
    if len(lines) > most:
        lines = [*lines[:most], f"and {len(lines) - most:,} more, which need arguments"]
    # The blocks of a net stand before it.
    chosen = str(ready[0].reference) if ready else f"{listed[-1].reference}({listed[-1].arguments})"
    return ModuleError(
        "the name of a class is missing",
        where=place,
        context="\n".join(lines),
        fix=f"write {chosen}" if len(ready) == 1 else f"choose one, for example {chosen}",
    )


def _listed(
    place: str, name: str, count: int, whole: LoadedModule, root: Path | None
) -> Iterator[ListedModule]:
    value = vars(_files(whole).module).get(name)
    last = _files(whole).runs[_files(whole).path].classes.get(name, [value])[-1]
    if isinstance(value, nn.Module) or (count < 2 and value is last):
        reference = ModuleReference(place=place, name=name)
        if found := _measured(replace(whole, reference=reference, factory=value)):
            yield found
        return
    for occurrence in range(1, count + 1):
        reference = ModuleReference(place=place, name=name, occurrence=occurrence if count > 1 else None)
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
