"""The Python file that runs without convsmith what was run of a user's file."""

import ast
from collections.abc import Iterator
from typing import Any

from convsmith.modules.source_text import text_lines
from convsmith.modules.statements import Statements


def plain_text(run: Statements) -> str | None:
    r"""Return a file without the statements that were not run; None if Python runs the original as it is.

    Whatever would do something else when it is imported is left out: magics, downloads, trainings, imports
    of packages that are not installed, and definitions after the one that was asked for.

    Example:
        >>> from convsmith.modules.source_text import parse_python
        >>> text = parse_python(b"import torchsummary, torch\nprint(1)\nx = 2  # two\n", "model.py")
        >>> run = Statements(source=text, namespace={}, file="model.py", add_folder=print)
        >>> run.left_out += text.body[1:2]
        >>> run.missing[text.body[0]] = frozenset({"torchsummary"})
        >>> print(plain_text(run))
        import torch
        x = 2  # two
        <BLANKLINE>
    """
    source = run.source
    if not (run.left_out or run.missing or source.is_notebook or source.omissions):
        return None
    changed, lines = list(_changed(run)), text_lines(source.text)
    if not all(_stands_alone(node, lines) for node in changed):
        return _unparsed(run)
    # From the end, so that the numbers stay.
    for (first, last), new in sorted(
        ((_lines(each), _replacement(each, run)) for each in changed), reverse=True
    ):
        lines[first - 1 : last] = new
    return _without_gaps(lines)


def _changed(run: Statements) -> Iterator[ast.stmt]:
    """Yield the statements to leave out or to shorten, without those inside of others."""
    yield from run.left_out
    yield from run.skipped
    yield from run.missing
    if run.source.is_notebook:
        # Magics are `pass` in the text.
        yield from (node for node in run.source.body if isinstance(node, ast.Pass))


def _replacement(node: ast.stmt, run: Statements) -> list[str]:
    kept = _import_without(node, run.missing[node]) if node in run.missing else None
    text = ast.unparse(kept) if kept else "pass" if node.col_offset else ""
    return [" " * node.col_offset + text] if text else []


def _import_without(node: ast.stmt, names: frozenset[str]) -> ast.stmt | None:
    """Return an import without some names; None if nothing is left."""
    assert isinstance(node, ast.Import | ast.ImportFrom), "only imports have missing names"
    kept = [alias for alias in node.names if (alias.asname or alias.name).partition(".")[0] not in names]
    if not kept or names == {"*"}:
        return None
    if isinstance(node, ast.Import):
        return ast.Import(names=kept)
    return ast.ImportFrom(module=node.module, names=kept, level=node.level)


def _lines(node: ast.stmt) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    return min(each.lineno for each in (node, *decorators)), node.end_lineno or node.lineno


def _stands_alone(node: ast.stmt, lines: list[str]) -> bool:
    """Whether a statement shares no line with another one, as in `a = 1; b = 2` and `if a: b = 2`."""
    before = (
        b"" if getattr(node, "decorator_list", []) else lines[node.lineno - 1].encode()[: node.col_offset]
    )
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].strip()
    return not before.strip() and (not after or after.startswith(b"#"))


class _Shortened(ast.NodeTransformer):
    def __init__(self, run: Statements) -> None:
        self.run, self.changed = run, set(_changed(run))

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt) and node in self.changed:
            kept = _import_without(node, self.run.missing[node]) if node in self.run.missing else None
            return kept or ast.Pass()
        return self.generic_visit(node)


def _unparsed(run: Statements) -> str:
    """Return the text by its syntax, without comments."""
    shortened = map(_Shortened(run).visit, run.source.body)
    tree = ast.Module([node for node in shortened if not isinstance(node, ast.Pass)], [])
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _without_gaps(lines: list[str]) -> str:
    """Return lines as a text, with at most two empty ones in a row."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or any(each.strip() for each in kept[-2:]):
            kept.append(line.rstrip())
    return "\n".join(kept).strip("\n") + "\n"
