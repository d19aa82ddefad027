"""Nets of installed packages, such as `timm.models.resnet:resnet18()`."""

import contextlib
import importlib
import importlib.metadata
import re
import sys
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import torch
from torch import nn

from convsmith.errors import ModuleError, suggest
from convsmith.modules.limits import limited
from convsmith.modules.loaded import LoadedModule
from convsmith.modules.reference import ModuleReference
from convsmith.system import paths
from convsmith.tracing.isolation import preserved_state


def load_from_package(reference: ModuleReference) -> LoadedModule:
    """Load the class or function of an installed package.

    Raises:
        ModuleError: The package is not installed, cannot be imported, has no such class or function, or is
            none for nets: a function of the standard library, such as `os:system('...')`, is not called.
    """
    file = Path(*reference.place.split(".")).with_suffix(".py")
    if paths.is_file(file):
        raise ModuleError(
            "found a file, expected a module of an installed package",
            where=reference.place,
            fix=f"write {replace(reference, place=str(file))}",
        )
    if reference.place.partition(".")[0] in sys.stdlib_module_names:
        raise _no_net(reference, f"{reference.place} is a module of Python, not a package of nets")
    with preserved_state(), limited(f"the package {reference.place}", reference.place, _nowhere):
        module = _imported(reference)
    try:
        factory = reduce(getattr, reference.name.split("."), module)
    except AttributeError as error:
        raise ModuleError(
            f"no class or function {reference.name!r} in this module",
            where=reference.place,
            fix=suggest(reference.name, [each for each in dir(module) if not each.startswith("_")]),
        ) from error
    if not callable(factory):
        raise ModuleError(
            f"{reference.name} is a {type(factory).__name__}, expected a class or function",
            where=reference.place,
        )
    _check_factory(reference, factory)
    return LoadedModule(reference=reference, factory=factory, package=_package(module))


def _check_factory(reference: ModuleReference, factory: Any) -> None:
    """Refuse what makes no net before it is called: a call may do anything.

    Raises:
        ModuleError: It is a class of something else, or a function of a package that has nothing of PyTorch.
    """
    if isinstance(factory, nn.Module) or (isinstance(factory, type) and issubclass(factory, nn.Module)):
        return
    if isinstance(factory, type):
        raise _no_net(reference, f"{reference.name} is a class of another kind than torch.nn.Module")
    while isinstance(factory, partial):
        factory = factory.func
    top = str(getattr(factory, "__module__", None) or "").partition(".")[0]
    # PyTorch's own functions load files, download and run code; its nets are classes.
    if top == "torch" or top in sys.stdlib_module_names or not _uses_torch(top):
        raise _no_net(reference, f"{reference.name} is no function of a package of nets")


def _uses_torch(package: str) -> bool:
    """Whether an imported package requires PyTorch, or has a module that imports it."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        names = (re.match(r"[\w.-]*", each) for each in importlib.metadata.requires(package) or ())
        if any(name and name[0].lower() == "torch" for name in names):
            return True
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == package]
    return any(value is torch or value is nn for module in modules for value in list(vars(module).values()))


def _no_net(reference: ModuleReference, what: str) -> ModuleError:
    return ModuleError(
        f"{what}; it was not called",
        where=str(reference),
        fix="name a class that derives from torch.nn.Module, or a function of a package that makes one; "
        "for anything else write a class into a file: path/to/model.py:Net",
    )


def _imported(reference: ModuleReference) -> ModuleType:
    top = reference.place.partition(".")[0]
    try:
        return importlib.import_module(reference.place)
    except ModuleNotFoundError as error:
        if error.name == top:
            raise ModuleError(
                f"{top} is not installed",
                where=str(reference),
                fix=f"install it: pip install {top}; a file of your own is written path/to/model.py:Net",
            ) from error
        raise ModuleError(
            f"cannot be imported: {error}", where=reference.place, fix="check the name"
        ) from error
    except Exception as error:
        raise ModuleError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=reference.place,
            fix=f"check that `python -c 'import {reference.place}'` runs",
        ) from error


def _package(module: ModuleType) -> str:
    """Return the name and version of an installed package: "timm 1.0.9"."""
    top = module.__name__.partition(".")[0]
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        version = getattr(importlib.import_module(top), "__version__", "")
        return f"{top} {version}".strip()


def _nowhere(frame: FrameType, line: int) -> str:
    del frame, line
    return ""
