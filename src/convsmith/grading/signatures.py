"""What equal nets have in common, whatever their names are: structure, source text, weights."""

import ast
import hashlib
from collections.abc import Iterable, Mapping

from torch import Tensor

from convsmith.modules.source_text import SourceText
from convsmith.net.analysis import Analysis
from convsmith.net.rows import Row

# Names that mean something outside of a class; all others are the student's choice.
_KEPT = {"self", "super", "forward", "__init__", "nn", "F", "torch"}


def structure_of(analysis: Analysis) -> str:
    """Return a hash of operations, settings, shapes, parameters and connections, without names.

    A layer and the function of the same operation are equal: `nn.ReLU` and `F.relu`.

    Example:
        >>> from torch import nn
        >>> from convsmith.tracing.trace import trace
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first = nn.Conv2d(1, 4, 3)
        ...     def forward(self, x):
        ...         return self.first(x).relu()
        >>> other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        >>> structure_of(trace(Net(), (1, 8, 8))) == structure_of(trace(other, (1, 8, 8)))
        True
    """
    texts = [_text(row) for row in analysis.rows]
    texts += [str(analysis.input_shape), str(analysis.outputs)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _text(row: Row) -> str:
    operation = "".join(each for each in row.operation.casefold() if each.isalnum())
    window = (row.kernel, row.stride, row.dilation, row.padding, row.groups, row.bias, row.width)
    return repr((operation, window, row.sources, row.in_shape, row.out_shape, row.parameters))


def weights_of(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of trained tensors without their names and their order.

    Counters of batch norms are left out: they are equal for all who train alike.

    Example:
        >>> import torch
        >>> one, two = torch.ones(3), torch.zeros(2)
        >>> weights_of({"a": one, "b": two}) == weights_of({"conv": two, "bias": one})
        True
    """
    digests = sorted(
        hashlib.sha256(
            f"{tuple(tensor.shape)}".encode() + tensor.float().contiguous().numpy().tobytes()
        ).digest()
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def source_of(source: SourceText, name: str, occurrence: int | None = None) -> str:
    r"""Return a hash of a class and of those that it uses, without names, comments, texts and formatting.

    Empty if the file does not define it.

    Example:
        >>> from convsmith.modules.source_text import parse_python
        >>> one = parse_python(b"class Net(nn.Module):\n  def forward(self, x): return self.a(x)", "a.py")
        >>> two = parse_python(
        ...     b"class My(nn.Module):\n  # mine\n  def forward(self, y):\n    return self.b(y)", "b.py"
        ... )
        >>> source_of(one, "Net") == source_of(two, "My")
        True
    """
    definitions: dict[str, list[ast.stmt]] = {}
    for node in source.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions.setdefault(node.name, []).append(node)
    if name not in definitions:
        return ""
    chosen, pending = dict[str, ast.stmt](), [name]
    while pending:
        each = pending.pop()
        if each in chosen or each not in definitions:
            continue
        number = (occurrence or 0) - 1 if each == name else -1
        if number >= len(definitions[each]):
            return ""
        chosen[each] = definitions[each][number]
        pending += sorted({node.id for node in ast.walk(chosen[each]) if isinstance(node, ast.Name)})
    return _normal(chosen.values())


def _normal(nodes: Iterable[ast.stmt]) -> str:
    # A copy, without places in the text.
    tree = ast.parse("\n".join(map(ast.unparse, nodes)))
    text = ast.dump(_Names({}, _own_names(tree)).visit(tree))
    return hashlib.sha256(text.encode()).hexdigest()


def _own_names(tree: ast.AST) -> set[str]:
    """Return the names that the text itself binds: classes, methods, arguments, variables, attributes."""
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            own.add(node.attr)
    return own - _KEPT


class _Names(ast.NodeTransformer):
    """Number the names that a text binds, in the order in which they stand; drop texts and annotations."""

    def __init__(self, names: dict[str, str], own: set[str]) -> None:
        self.names, self.own = names, own

    def _number(self, name: str) -> str:
        if name not in self.own:
            return name
        return self.names.setdefault(name, f"n{len(self.names)}")

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._number(node.name)
        node.body = _without_text(node.body)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._number(node.name)
        node.returns = None
        node.body = _without_text(node.body)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._number(node.arg), None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._number(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self._number(node.attr)
        return self.generic_visit(node)


def _without_text(body: list[ast.stmt]) -> list[ast.stmt]:
    """Drop docstrings and prints."""
    kept = [each for each in body if not (isinstance(each, ast.Expr) and _is_talk(each.value))]
    return kept or [ast.Pass()]


def _is_talk(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
