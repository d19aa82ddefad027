"""Where a submission creates its nets: `model = Net("BN").to(device)` in a notebook or a script."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from convsmith.errors import ConvsmithError
from convsmith.modules.source_text import SourceText, parse_notebook, parse_python
from convsmith.system import reading

_MAX_FILE = 2**26
# Tests of a student's own create nets that are not the hand-in.
_ASIDE = re.compile(r"(?i)(?:^|/)(?:tests?/|test_|conftest\.)")


@dataclass(frozen=True, kw_only=True)
class Use:
    """A call of a class or function, outside of classes.

    Attributes:
        file: The file of the call.
        place: "line 12", or "cell 3, line 5".
        name: Of the class or function.
        args: Its literal arguments; names of constants of the file are replaced by their values.
        kwargs: As `args`.
        is_literal: Whether all arguments are known.
        trained: Whether the result goes on to an optimiser or a training.
        origin: The last part of the module that the name was imported from; empty for a name of the file.
    """

    file: str
    place: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    is_literal: bool = True
    trained: bool = False
    origin: str = ""

    def creates(self, place: str, name: str) -> bool:
        """Whether it may create a net of this name, defined in this file.

        >>> use = Use(file="S7.ipynb", place="cell 1, line 1", name="Net", origin="model_2")
        >>> use.creates("model_2.py", "Net"), use.creates("model_1.py", "Net")
        (True, False)
        """
        if name != self.name:
            return False
        return self.file == place if not self.origin else self.origin == PurePosixPath(place).stem

    @property
    def call(self) -> str:
        """The arguments as a reference has them; empty without any."""
        parts = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"({', '.join(parts)})" if parts else ""


def parse(folder: Path, name: str) -> SourceText | None:
    """Parse a file of a submission; None if it cannot be read or is no Python."""
    try:
        content = reading.read_bytes(folder / name, _MAX_FILE)
        return parse_notebook(content, name) if name.endswith(".ipynb") else parse_python(content, name)
    except ConvsmithError:
        return None


def uses_in(source: SourceText, file: str) -> list[Use]:
    r"""List the calls of capitalised names and of local functions, outside of classes.

    Example:
        >>> text = b"N = 8\nnet = Net(N, norm='bn').to(device)\noptimizer = SGD(net.parameters())"
        >>> [(use.name, use.call, use.trained) for use in uses_in(parse_python(text, "a.py"), "a.py")][0]
        ('Net', "(8, norm='bn')", True)
    """
    if _ASIDE.search(file):
        return []
    constants = _constants(source.body)
    trained = _trained_names(source.body)
    imports = _Imports.of(source.body)
    uses = []
    for statement in source.body:
        if isinstance(statement, ast.ClassDef):
            continue
        targets = _targets(statement)
        for call in _calls(statement):
            name = _name(call.func)
            if not name:
                continue
            args, kwargs, literal = _arguments(call, constants)
            uses.append(
                Use(
                    file=file,
                    place=source.place(call.lineno),
                    name=name,
                    args=args,
                    kwargs=kwargs,
                    is_literal=literal,
                    trained=bool(targets & trained),
                    origin=imports.origin(call.func),
                )
            )
    return uses


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Yield calls in a statement, those in classes left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)


def _name(node: ast.expr) -> str:
    """Return the name of a called class or function: `Net`, `model.Net`."""
    if isinstance(node, ast.Name):
        return node.id
    # A method of a value, such as `net.train()`, has the name of no class.
    return node.attr if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""


@dataclass(frozen=True, kw_only=True)
class _Imports:
    """The imported names of a file.

    Attributes:
        names: The module of each name, by its last part.
        modules: What each name is if it is a module itself, by the last part.
    """

    names: Mapping[str, str]
    modules: Mapping[str, str]

    @classmethod
    def of(cls, body: Sequence[ast.stmt]) -> "_Imports":
        names, modules = dict[str, str](), dict[str, str]()
        for node in (each for statement in body for each in ast.walk(statement)):
            if isinstance(node, ast.ImportFrom | ast.Import):
                for alias in node.names:
                    modules[alias.asname or alias.name] = alias.name.rpartition(".")[2]
                    if isinstance(node, ast.ImportFrom):
                        names[alias.asname or alias.name] = (node.module or "").rpartition(".")[2]
        return cls(names=names, modules=modules)

    def origin(self, node: ast.expr) -> str:
        """Return the module that a called name comes from; empty for a name of the file."""
        if isinstance(node, ast.Name):
            # What comes by `from model import *` is one of those modules' names.
            return self.names.get(node.id, self.names.get("*", ""))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self.modules.get(node.value.id, node.value.id)
        return ""


def _constants(body: tuple[ast.stmt, ...]) -> dict[str, Any]:
    """Return the literal values that names have at the top level; the last one counts."""
    values = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                values.pop(node.targets[0].id, None)
    return values


def _arguments(call: ast.Call, constants: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in constants:
            return constants[node.id]
        return ast.literal_eval(node)

    try:
        args = tuple(value(each) for each in call.args)
        if not all(each.arg for each in call.keywords):
            return (), {}, False
        return args, {str(each.arg): value(each.value) for each in call.keywords}, True
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return (), {}, False


def _targets(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        return {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    inner = [each for each in ast.walk(node) if isinstance(each, ast.Assign)] if _is_block(node) else []
    return set().union(*(_targets(each) for each in inner))


def _is_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.With | ast.Try)


def _trained_names(body: tuple[ast.stmt, ...]) -> set[str]:
    """Return the variables whose parameters go to an optimiser, or that a training function takes."""
    names = set()
    for node in (each for statement in body for each in ast.walk(statement)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == "parameters":
            names |= {each.id for each in ast.walk(function.value) if isinstance(each, ast.Name)}
        called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if any(word in called.casefold() for word in ("train", "fit")):
            names |= {each.id for each in node.args if isinstance(each, ast.Name)}
    return names
