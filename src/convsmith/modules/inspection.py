"""What a file offers: its classes of modules, the functions that create them, and their arguments."""

import ast
import inspect
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from convsmith.modules.user_files import UserFiles


def arguments_text(factory: Any) -> str:
    """Return the arguments of a class or function with their defaults, without annotations.

    >>> arguments_text(lambda classes, width=32, **rest: None)
    'classes, width=32, **rest'
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return "..."
    plain = [each.replace(annotation=each.empty) for each in parameters]
    return str(inspect.Signature(plain))[1:-1]


def required_arguments(factory: Any) -> list[str]:
    """Return the names of the arguments without a default; empty if they cannot be known.

    >>> required_arguments(lambda classes, width=32, **rest: None)
    ['classes']
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in variable]


def module_names(files: UserFiles, modules: Sequence[ModuleType] = ()) -> list[str]:
    """Return the classes of nets in the main file, or in the given modules; not those of packages."""
    return [
        name
        for module in modules or [files.module]
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and files.owns(value)
    ]


def builders(files: UserFiles, names: set[str]) -> list[str]:
    """Return the functions without required arguments that create one of these classes.

    A function counts if it returns something and calls one of the classes, or another of the functions, or
    passes one of them on, as in `return _resnet(BasicBlock, [2, 2, 2, 2])`.
    """
    bodies = [text.body for text in files.texts.values()]
    functions: dict[str, set[str]] = {}
    for node in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef)):
        if _returns(node):
            functions.setdefault(node.name, set()).update(_used(node))
    found: set[str] = set()
    while new := {name for name, used in functions.items() if used & (names | found)} - found:
        found |= new
    there = vars(files.module)
    return [
        name
        for name in functions
        if name in found
        and isinstance(there.get(name), FunctionType)
        and files.owns(there[name])
        and not required_arguments(there[name])
    ]


def _returns(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Return) and node.value for node in ast.walk(function))


def _used(function: ast.FunctionDef) -> set[str]:
    """Return the names that a function calls, or passes to a call."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    nodes = [node for call in calls for node in (call.func, *call.args)]
    return {node.id for node in nodes if isinstance(node, ast.Name)}
