"""The names of a module that a statement uses, and their replacement in its text."""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
_Identifier = ast.Name | ast.Attribute | _Definition
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def module_names(nodes: Sequence[ast.stmt]) -> frozenset[str]:
    r"""Return the names of the module that statements use or define; names of functions are not among them.

    >>> sorted(module_names(ast.parse("def f(x):\n    y = g(x)\n    return y + LIMIT").body))
    ['LIMIT', 'f', 'g']
    """
    return frozenset(_name(each) for each in _identifiers(nodes))


def defined_names(nodes: Sequence[ast.stmt]) -> tuple[str, ...]:
    r"""Return the names that statements of a module bind, without those that they only change.

    >>> defined_names(ast.parse("A, B = 1, 2\nB.c = 3\nclass C:\n    d = 4").body)
    ('A', 'B', 'C')
    """
    return tuple(dict.fromkeys(_bound(nodes)))


def renamed(text: str, names: Mapping[str, str], modules: Mapping[str, Mapping[str, str]]) -> str:
    r"""Return the text of statements with other names of their module.

    Args:
        text: Statements.
        names: New names by old ones. Names of functions that hide them stay.
        modules: New names of the attributes of imported modules, as in `utils.train`.

    >>> print(renamed("def f(Net):\n    return Net\nclass A(Net): pass", {"Net": "Model"}, {}))
    def f(Net):
        return Net
    class A(Model): pass
    >>> renamed("x = utils.train()", {}, {"utils": {"train": "train_2"}})
    'x = utils.train_2()'
    """
    tree = ast.parse(text)
    new = [(each, names[_name(each)]) for each in _identifiers(tree.body) if _name(each) in names]
    attributes = [each for each in ast.walk(tree) if isinstance(each, ast.Attribute)]
    for each in attributes:
        module = each.value.id if isinstance(each.value, ast.Name) else ""
        if each.attr in modules.get(module, {}):
            new.append((each, modules[module][each.attr]))
    new += [pair for node, _ in new if isinstance(node, ast.ClassDef) for pair in _private_names(node)]
    declared = {name for each in ast.walk(tree) if isinstance(each, ast.Global) for name in each.names}
    imported = {_own_name(each) for each in _aliases(tree.body)}
    if (declared | imported) & names.keys():
        return _unparsed(text, new, names)
    return _edited(text, new) if new else text


def _private_names(node: ast.ClassDef) -> Iterator[tuple[_Identifier, str]]:
    """Yield the names `__name` of a class as Python stores them, which are keys of weights too."""
    waiting: list[ast.AST] = [*node.body]
    while waiting:
        each = waiting.pop()
        is_named = isinstance(each, ast.Attribute) or (isinstance(each, _Function) and each in node.body)
        if is_named and isinstance(each, _Identifier):
            name = _name(each)
            if name.startswith("__") and not name.endswith("__"):
                yield each, f"_{node.name.lstrip('_')}{name}"
        if not isinstance(each, ast.ClassDef):
            waiting += ast.iter_child_nodes(each)


def _aliases(nodes: Collection[ast.AST]) -> Iterator[ast.alias]:
    """Yield what statements of a module import, outside of functions and classes."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from node.names
        elif not isinstance(node, _Definition | ast.Lambda):
            yield from _aliases([*ast.iter_child_nodes(node)])


def _own_name(alias: ast.alias) -> str:
    return (alias.asname or alias.name).partition(".")[0]


def _edited(text: str, new: Sequence[tuple[_Identifier, str]]) -> str:
    lines = text.encode(errors="surrogateescape").splitlines(keepends=True)
    edits = []
    for node, name in new:
        old = _name(node).encode()
        row, column = _place(node, lines)
        if not lines[row].startswith(old, column):
            # Python 3.11 does not know the places of names in some f-strings.
            return _unparsed(text, new, {})
        edits.append((row, column, old, name.encode()))
    for row, column, old, changed in sorted(edits, reverse=True):
        line = lines[row]
        lines[row] = line[:column] + changed + line[column + len(old) :]
    return b"".join(lines).decode(errors="surrogateescape")


def _unparsed(text: str, new: Sequence[tuple[_Identifier, str]], declared: Mapping[str, str]) -> str:
    """Return the text by its syntax, without comments; `declared` are new names of globals and imports."""
    tree = ast.parse(text)
    for alias in _aliases(tree.body):
        alias.asname = declared.get(_own_name(alias), alias.asname)
    for each in ast.walk(tree):
        if isinstance(each, ast.Global):
            each.names = [declared.get(name, name) for name in each.names]
    names = {(type(node), node.lineno, node.col_offset, _name(node)): name for node, name in new}
    for node in ast.walk(tree):
        if isinstance(node, _Identifier):
            name = names.get((type(node), node.lineno, node.col_offset, _name(node)), _name(node))
            setattr(node, _field(node), name)
    return ast.unparse(tree) + "\n"


def _place(node: _Identifier, lines: Sequence[bytes]) -> tuple[int, int]:
    """Return the line from 0 and the column in bytes of the name of a node."""
    name = _name(node).encode()
    match node:
        case ast.Name():
            return node.lineno - 1, node.col_offset
        case ast.Attribute():
            return (node.end_lineno or 1) - 1, (node.end_col_offset or 0) - len(name)
        case _:
            after = lines[node.lineno - 1].find(
                b"class" if isinstance(node, ast.ClassDef) else b"def", node.col_offset
            )
            return node.lineno - 1, lines[node.lineno - 1].find(name, after + 3)


def _field(node: _Identifier) -> str:
    return "id" if isinstance(node, ast.Name) else "attr" if isinstance(node, ast.Attribute) else "name"


def _name(node: _Identifier) -> str:
    name: str = getattr(node, _field(node))
    return name


def _identifiers(nodes: Sequence[ast.stmt]) -> list[_Identifier]:
    visitor = _Identifiers()
    for node in nodes:
        visitor.visit(node)
    return visitor.nodes


def _bound(nodes: Collection[ast.AST]) -> Iterator[str]:
    """Yield the names that nodes bind in their own scope, in the order of the text."""
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
                continue
            case ast.Lambda():
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.Import() | ast.ImportFrom():
                yield from map(_own_name, node.names)
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
        inner = [*ast.iter_child_nodes(node)]
        if isinstance(node, _COMPREHENSIONS):
            # Of a comprehension only `:=` binds outside of it.
            yield from (each.target.id for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
            continue
        yield from _bound(inner)


class _Identifiers(ast.NodeVisitor):
    """Collects the nodes whose names are those of the module."""

    def __init__(self) -> None:
        self.nodes: list[_Identifier] = []
        # The names of the scopes around a node, outermost first; those of a class hold in its own body only.
        self.scopes: list[tuple[bool, frozenset[str]]] = []

    def _add(self, node: _Identifier) -> None:
        binds = not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load)
        if self.scopes and self.scopes[-1][0] and binds:
            return
        for depth, (is_class, names) in enumerate(reversed(self.scopes)):
            if _name(node) in names and not (is_class and depth):
                return
        self.nodes.append(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._add(node)

    def _definition(self, node: _Definition) -> None:
        self._add(node)
        for each in node.decorator_list:
            self.visit(each)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._definition(node)
        for each in [*node.bases, *node.keywords]:
            self.visit(each)
        # What a class binds is that of the module before.
        for place, each in enumerate(node.body):
            self._in_scope(frozenset(_bound(node.body[:place])), [each], is_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: _Function) -> None:
        self._definition(node)
        annotations = [each.annotation for each in _arguments(node.args) if each.annotation]
        outside = [*node.args.defaults, *filter(None, node.args.kw_defaults), *annotations]
        for each in [*outside, *([node.returns] if node.returns else [])]:
            self.visit(each)
        declared = {name for each in _own(node) if isinstance(each, ast.Global) for name in each.names}
        names = {*_bound(node.body), *(each.arg for each in _arguments(node.args))}
        self._in_scope(frozenset(names - declared), node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for each in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(each)
        self._in_scope(frozenset(each.arg for each in _arguments(node.args)), [node.body])

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        targets = frozenset(_bound([each.target for each in node.generators]))
        values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        others = [
            each for part in node.generators for each in (*part.ifs, *([] if part is first else [part.iter]))
        ]
        self._in_scope(targets, [*values, *others])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def _in_scope(self, names: frozenset[str], nodes: Sequence[ast.AST], *, is_class: bool = False) -> None:
        self.scopes.append((is_class, names))
        for each in nodes:
            self.visit(each)
        self.scopes.pop()


def _arguments(args: ast.arguments) -> list[ast.arg]:
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]


def _own(node: _Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions and classes in it."""
    waiting: list[ast.AST] = [*node.body]
    while waiting:
        each = waiting.pop()
        yield each
        if not isinstance(each, _Definition | ast.Lambda):
            waiting += ast.iter_child_nodes(each)
