"""An instance of a module as a net: copies of it, with the files of its class where it comes from files."""

import inspect
from dataclasses import replace
from pathlib import Path

from torch import nn

from convsmith.errors import ConvsmithError
from convsmith.modules.load import load_module
from convsmith.modules.loaded import LoadedModule
from convsmith.modules.reference import ModuleReference
from convsmith.tracing.members import unwrap
from convsmith.tracing.places import Places

_INSTALLED = ("site-packages", "dist-packages")
_WITHOUT_FILE = "its class is in no file, so that later commands need the instance: module=Net()"


def loaded_instance(instance: nn.Module) -> LoadedModule:
    """Return an instance as a loaded module, which creates copies with the weights of the instance.

    Example:
        >>> loaded = loaded_instance(nn.Linear(4, 2))
        >>> str(loaded.reference), loaded.create()
        ('torch.nn.modules.linear:Linear()', Linear(in_features=4, out_features=2, bias=True))
    """
    instance = unwrap(instance)
    kind = type(instance)
    path = _file_of(kind)
    if path is None:
        notes = (_WITHOUT_FILE,) if kind.__module__ == "__main__" else ()
        reference = ModuleReference(place=kind.__module__, name=kind.__qualname__)
        return LoadedModule(reference=reference, factory=instance, notes=notes, places=Places())
    reference = ModuleReference(place=str(path), name=kind.__qualname__)
    try:
        # The instance was made before its file was read again.
        return replace(load_module(reference), factory=instance, places=Places())
    except ConvsmithError as error:
        note = f"its code is not copied into the run folder: {error.problems[0].what}"
        return LoadedModule(reference=reference, factory=instance, notes=(note,), places=Places())


def _file_of(kind: type[nn.Module]) -> Path | None:
    """Return the user's file that defines a class; None for an installed package and for a notebook."""
    try:
        path = Path(inspect.getfile(kind))
    except (TypeError, OSError):
        return None
    is_own = path.suffix == ".py" and path.is_file() and not {*_INSTALLED} & {*path.parts}
    return path if is_own else None
