"""Where layers are made, by the source text of the constructors: for instances, which exist already."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeGuard

from torch import nn

from convsmith.net.rows import Location


class _Expression(NamedTuple):
    node: ast.expr
    file: str
    # The line of the file before the text that the node is from.
    before: int


@dataclass
class SourceDefinitions:
    """Finds the expressions that make the layers of a net.

    Attributes:
        modules: All modules by path, the net itself as "".
        locate: Returns the place of a line of a file of the user's.
    """

    modules: Mapping[str, nn.Module]
    locate: Callable[[str, int], Location | None]
    _assigned: dict[type, dict[str, _Expression]] = field(default_factory=dict)

    def place(self, path: str) -> Location | None:
        """Return the place of the expression that makes a layer; None if it cannot be determined."""
        maker = self._expression(path)
        return self.locate(maker.file, maker.before + maker.node.lineno) if maker else None

    def _expression(self, path: str) -> _Expression | None:
        """Return the expression: that of `self.conv = ...`, or one in an `nn.Sequential(...)`."""
        above, _, name = path.rpartition(".")
        parent = self.modules.get(above)
        if parent is None:
            return None
        kind = type(parent)
        if kind not in self._assigned:
            self._assigned[kind] = dict(_assignments(kind))
        expression = self._assigned[kind].get(name)
        if expression is None and above and isinstance(parent, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            whole = self._expression(above)
            return _element(whole, int(name)) if whole and name.isdecimal() else whole
        return expression


def _element(whole: _Expression, index: int) -> _Expression:
    """Return an argument of `nn.Sequential(...)` or an element of `nn.ModuleList([...])`, if it is plain."""
    elements = whole.node.args if _is_container(whole.node) else []
    if len(elements) == 1 and isinstance(elements[0], ast.List | ast.Tuple):
        elements = elements[0].elts
    plain = elements[: index + 1]
    if len(plain) <= index or any(isinstance(each, ast.Starred) for each in plain):
        return whole
    return whole._replace(node=plain[index])


def _is_container(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether it calls `nn.Sequential` or `nn.ModuleList` itself, rather than a function that does so."""
    name = node.func if isinstance(node, ast.Call) else None
    text = name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else ""
    return text in {"Sequential", "ModuleList"}


def _assignments(kind: type) -> Iterator[tuple[str, _Expression]]:
    """Yield the attributes that the constructors of a class assign, with their values; the last counts."""
    for each in reversed(kind.__mro__):
        init = vars(each).get("__init__")
        if each.__module__.partition(".")[0] == "torch" or not inspect.isfunction(init):
            continue
        try:
            lines, first = inspect.getsourcelines(init)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, IndexError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name, value in _pairs(target, node.value):
                        yield name, _Expression(value, init.__code__.co_filename, first - 1)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the attributes that an assignment sets, `self.a, self.b = x, y` two of them."""
    if isinstance(target, ast.Attribute):
        yield target.attr, value
    elif isinstance(target, ast.Tuple):
        values = value.elts if isinstance(value, ast.Tuple) else [value] * len(target.elts)
        for each, part in zip(target.elts, values, strict=False):
            yield from _pairs(each, part)
