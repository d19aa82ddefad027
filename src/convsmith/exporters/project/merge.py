"""Merge Python modules into one file, with their imports in the order of `ruff`."""

import ast
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from convsmith.codegen import call


@dataclass
class Imports:
    """Whole modules, and names by the module that they are imported from."""

    modules: set[str] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)

    def add(self, node: ast.Import | ast.ImportFrom) -> None:
        names = {f"{each.name} as {each.asname}" if each.asname else each.name for each in node.names}
        if isinstance(node, ast.Import):
            self.modules |= names
        elif node.level:
            self.names.setdefault("." * node.level + (node.module or ""), set()).update(names)
        else:
            self.names.setdefault(node.module or "", set()).update(names)

    def text(self, own: Collection[str]) -> str:
        """Return `__future__`, the standard library, then other packages, without the modules in `own`."""
        future = self.names.pop("__future__", set())
        blocks = ["\n".join(_from("__future__", future))] if future else []
        for standard in (True, False):
            lines = [f"import {name}" for name in sorted(self.modules) if _is_standard(name) == standard]
            for module in sorted(self.names, key=str.lower):
                if module not in own and _is_standard(module) == standard:
                    lines += _from(module, self.names[module])
            blocks.append("\n".join(lines))
        return "\n\n".join(filter(None, blocks))


def merged(modules: Sequence[str], *, own: Collection[str] = (), first: str = "") -> str:
    r"""Return one file for several.

    Args:
        modules: The text of each, with a docstring, its imports, and what they do not share. The first gives
            the docstring.
        own: The names of the modules, whose imports of each other are left out.
        first: Statements before the other imports.

    Example:
        >>> print(merged(['"A."\n\nimport re\n\nX = 1\n', '"B."\n\nimport abc\n\nY = 1\n']))
        "A."
        <BLANKLINE>
        import abc
        import re
        <BLANKLINE>
        X = 1
        <BLANKLINE>
        <BLANKLINE>
        Y = 1
        <BLANKLINE>
    """
    imports, bodies, docstring = Imports(), [], ""
    for text in modules:
        heading, *nodes = ast.parse(text).body
        docstring = docstring or ast.get_source_segment(text, heading) or ""
        found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in found:
            imports.add(node)
        last = found[-1] if found else heading
        bodies.append("\n".join(text.splitlines()[last.end_lineno :]).strip("\n"))
    head = "\n\n".join(filter(None, [docstring, first, imports.text(own)]))
    gap = "\n\n\n" if bodies[0].startswith(("def ", "class ", "@")) else "\n\n"
    return f"{head}{gap}" + "\n\n\n".join(bodies) + "\n"


def _is_standard(module: str) -> bool:
    return module.split(" ", maxsplit=1)[0].split(".", maxsplit=1)[0] in sys.stdlib_module_names


def _from(module: str, names: set[str]) -> list[str]:
    """Return one line for each renamed name, and one for all others."""
    renamed = sorted(name for name in names if " as " in name)
    others = sorted(names - set(renamed), key=_by_kind)
    lines = [f"from {module} import {name}" for name in renamed]
    if others:
        line = f"from {module} import {', '.join(others)}"
        lines.append(line if len(line) <= 88 else call("", others, before=f"from {module} import "))
    return lines


def _by_kind(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)
