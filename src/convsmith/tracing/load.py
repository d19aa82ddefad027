"""Load a user's module from a file, `model.py:Net`. The file is executed, as the user asks by naming it."""

import ast
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from convsmith.errors import FileError, ModuleError, suggest
from convsmith.system import paths


def load_module(text: str) -> nn.Module:
    """Create the module named `file.py:Class` or `file.py:Class(10, width=32)`.

    Arguments are literals: numbers, strings, tuples, lists, dicts, True, False and None.

    Raises:
        FileError: The file does not exist.
        ModuleError: The file fails, has no such class, or the class does not accept the arguments.
    """
    path_text, _, call = text.partition(".py:")
    path = Path(f"{path_text}.py")
    if text.endswith(".py"):
        path = Path(text)
    if not paths.is_file(path):
        raise FileError("no such file", where=str(path), fix="write path/to/model.py:Net")
    if not call:
        names = _written_classes(path)
        raise ModuleError(
            "the name of a class is missing",
            where=str(path),
            fix=f"write {path}:{names[0]}" if len(names) == 1 else suggest("", names) or f"write {path}:Net",
        )
    name, args, kwargs = _parse(call)
    module = _run(path)
    factory = getattr(module, name, None)
    if isinstance(factory, nn.Module) and not (args or kwargs):
        return factory
    if not callable(factory):
        raise ModuleError(
            f"no class {name!r} in this file", where=str(path), fix=suggest(name, _classes(module))
        )
    net = _create(factory, args, kwargs, path, name)
    if not isinstance(net, nn.Module):
        raise ModuleError(
            f"{name} returns a {type(net).__name__}, expected a torch.nn.Module",
            where=str(path),
            fix=suggest(name, _classes(module)),
        )
    return net


def _written_classes(path: Path) -> list[str]:
    """Return the classes of a file with a base class and a `forward`, without running the file."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    return [
        each.name
        for each in body
        if isinstance(each, ast.ClassDef)
        and each.bases
        and "forward" in {getattr(item, "name", "") for item in each.body}
    ]


def _parse(call: str) -> tuple[str, list[Any], dict[str, Any]]:
    try:
        node = ast.parse(call.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            kwargs = {each.arg: ast.literal_eval(each.value) for each in node.keywords if each.arg}
            return node.func.id, [ast.literal_eval(each) for each in node.args], kwargs
    except (SyntaxError, ValueError):
        pass
    raise ModuleError(
        f"found {call!r}, expected the name of a class, with literal arguments if it needs any",
        fix="for example model.py:Net or 'model.py:Net(10, width=32)'",
    )


def _run(path: Path) -> ModuleType:
    """Import a file under a unique name; it may import modules from its folder."""
    specification = importlib.util.spec_from_file_location(f"convsmith_user_{path.stem}", path)
    assert specification is not None, "a path that ends in .py has a loader"
    assert specification.loader is not None, "as above"
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = where[-1].lineno if where else getattr(error, "lineno", None)
        raise ModuleError(
            f"the file cannot be run: {type(error).__name__}: {error}",
            where=f"{path}, line {line}" if line else str(path),
            fix=f"check that `python {path}` runs",
        ) from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _create(factory: Any, args: list[Any], kwargs: dict[str, Any], path: Path, name: str) -> Any:
    try:
        inspect.signature(factory).bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise ModuleError(
            f"{name}{inspect.signature(factory)} cannot be created with these arguments: {error}",
            where=str(path),
            fix=f"pass its arguments, as in '{path}:{name}({_placeholders(factory)})'",
        ) from error
    try:
        return factory(*args, **kwargs)
    except Exception as error:
        raise ModuleError(
            f"the constructor of {name} fails: {type(error).__name__}: {error}",
            where=str(path),
            fix="check its arguments",
        ) from error


def _placeholders(factory: Any) -> str:
    parameters = inspect.signature(factory).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return ", ".join(
        f"{each.name}=10" for each in parameters if each.default is each.empty and each.kind in plain
    )


def _classes(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]
