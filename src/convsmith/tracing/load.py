"""A user's own module from a file, `model.py:Net`. It is run: its name was given for that."""

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


def load_module(text: str) -> nn.Module:
    """Make the module that `file.py:Class` or `file.py:Class(10, width=32)` names.

    Arguments are literals: numbers, texts, tuples, lists, dicts, True, False and None.

    Raises:
        FileError: No such file.
        ModuleError: The file fails, has no such class, or the class cannot be made with these arguments.
    """
    path_text, _, call = text.partition(".py:")
    path = Path(f"{path_text}.py")
    if not path.is_file():
        raise FileError("no such file", where=str(path), fix="name it as path/to/model.py:Net")
    name, args, kwargs = _parsed(call)
    module = _run(path)
    found = getattr(module, name, None)
    if isinstance(found, nn.Module) and not (args or kwargs):
        return found
    if not callable(found):
        raise ModuleError(f"it has no class {name!r}", where=str(path), fix=suggest(name, _classes(module)))
    made = _made(found, args, kwargs, path, name)
    if not isinstance(made, nn.Module):
        raise ModuleError(
            f"{name} makes a {type(made).__name__}, expected a torch.nn.Module",
            where=str(path),
            fix=suggest(name, _classes(module)),
        )
    return made


def _parsed(call: str) -> tuple[str, list[Any], dict[str, Any]]:
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
        f"found {call!r}, expected the name of a class, with plain arguments where it needs them",
        fix="for example model.py:Net or 'model.py:Net(10, width=32)'",
    )


def _run(path: Path) -> ModuleType:
    """Import a file under a name of its own; what it imports may lie beside it."""
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
            fix=f"see that `python {path}` runs",
        ) from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _made(found: Any, args: list[Any], kwargs: dict[str, Any], path: Path, name: str) -> Any:
    try:
        inspect.signature(found).bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise ModuleError(
            f"{name}{inspect.signature(found)} cannot be made like this: {error}",
            where=str(path),
            fix=f"give its arguments, as in '{path}:{name}({_placeholders(found)})'",
        ) from error
    try:
        return found(*args, **kwargs)
    except Exception as error:
        raise ModuleError(
            f"{name} fails when it is made: {type(error).__name__}: {error}",
            where=str(path),
            fix="see that its arguments are right",
        ) from error


def _placeholders(found: Any) -> str:
    parameters = inspect.signature(found).parameters.values()
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
