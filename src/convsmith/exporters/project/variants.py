"""Merge several versions of a Python module into one file.

What is equal in the versions is written once. What differs is written once for each version that has another
text, under a name with the number of the first of them: `train_transform_1` and `train_transform_3`. What
uses it differs too, and so on.
"""

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from convsmith.exporters.project.merge import Imports
from convsmith.exporters.project.scopes import defined_names, module_names, renamed
from convsmith.modules.source_text import text_lines

# A statement of a version, by the number of the version and its own.
_Key = tuple[int, int]


@dataclass(frozen=True)
class Merged:
    """The result of a merge.

    Attributes:
        text: The file.
        names: For each version, the names that it defines, with their names in the file.
    """

    text: str
    names: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Version:
    """One of the modules to merge.

    Attributes:
        text: With a docstring, imports, and the rest. A part that runs as a program is left out.
        roots: The names that count: what none of them uses is left out. Empty if all counts.
        new: New names by those in the text.
        modules: New names of attributes of imported modules, as in `utils.train`.
    """

    text: str
    roots: frozenset[str] = frozenset()
    new: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def merge_versions(
    versions: Sequence[Version],
    docstring: str,
    *,
    own: Collection[str] = (),
    first: str = "",
    local: str = "",
) -> Merged:
    r"""Merge versions of a module.

    Args:
        versions: The modules.
        docstring: Of the file.
        own: Modules whose imports are left out.
        first: Statements before the imports.
        local: Imports of the project's own modules, after the others.

    Example:
        >>> text = '"A."\n\nRATE = {}\n\n\ndef rate():\n    return RATE\n\n\ndef other():\n    return 1\n'
        >>> merged = merge_versions([Version(text.format(1)), Version(text.format(2))], "Both.")
        >>> print(merged.text.partition("\n\n")[2])
        RATE_1 = 1
        <BLANKLINE>
        <BLANKLINE>
        def rate_1():
            return RATE_1
        <BLANKLINE>
        <BLANKLINE>
        def other():
            return 1
        <BLANKLINE>
        <BLANKLINE>
        RATE_2 = 2
        <BLANKLINE>
        <BLANKLINE>
        def rate_2():
            return RATE_2
        <BLANKLINE>
        >>> merged.names[1]["rate"]
        'rate_2'
    """
    modules = [_Module.of(each) for each in versions]
    kinds = _kinds(modules)
    names = _names(modules, kinds, versions)
    imports, parts, done = Imports(), list[_Statement](), set[int]()
    for number, (module, version) in enumerate(zip(modules, versions, strict=True)):
        for node in module.imports:
            imports.add(_renamed_import(node, names[number]))
        for place, statement in enumerate(module.statements):
            kind = kinds[number, place]
            if kind not in done:
                done.add(kind)
                text = renamed(statement.text, names[number], version.modules)
                parts.append(replace(statement, text=text))
    head = "\n\n".join(filter(None, [f'"""{docstring}"""', first, imports.text(own), local]))
    return Merged(head + _joined(parts), tuple(names))


@dataclass(frozen=True)
class _Statement:
    """Statements of a module that bind the same names.

    Attributes:
        text: Without empty lines before and after it.
        lead: The comments before it.
        gap: Empty lines before them.
        names: What it defines.
        uses: The names of the module that it uses.
        is_definition: Whether it is a function or a class.
    """

    text: str
    lead: str
    gap: int
    names: tuple[str, ...]
    uses: frozenset[str]
    is_definition: bool


@dataclass(frozen=True)
class _Module:
    imports: tuple[ast.Import | ast.ImportFrom, ...]
    statements: tuple[_Statement, ...]

    @classmethod
    def of(cls, version: Version) -> "_Module":
        text = _one_a_line(version.text)
        body = ast.parse(text).body
        imports = [each for each in body if isinstance(each, ast.Import | ast.ImportFrom)]
        statements = list(_statements(body, text))
        if version.roots:
            statements = _used(statements, version.roots)
            used = {name for each in statements for name in each.uses}
            imports = [short for each in imports if (short := _used_import(each, used))]
        return cls(tuple(imports), tuple(statements))

    def aliases(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the imports, and what they import; of `from x import *` none is known."""
        for node in self.imports:
            for each in node.names:
                if each.name == "*":
                    continue
                if isinstance(node, ast.ImportFrom):
                    yield each.asname or each.name, f"from {'.' * node.level}{node.module or ''} {each.name}"
                elif each.asname:
                    yield each.asname, f"import {each.name}"
                else:
                    root = each.name.partition(".")[0]
                    yield root, f"import {root}"


def _one_a_line(text: str) -> str:
    """Return a text whose statements share no line; where they do, by its syntax, without comments."""
    tree = ast.parse(text)
    shared = any(after.lineno <= (before.end_lineno or 0) for before, after in pairwise(tree.body))
    return ast.unparse(tree) + "\n" if shared else text


def _statements(body: Sequence[ast.stmt], text: str) -> Iterator[_Statement]:
    """Yield the statements after the docstring, without the imports."""
    lines, end = text_lines(text), 0
    statements: list[_Statement] = []
    for index, node in enumerate(body):
        first = min(each.lineno for each in (node, *getattr(node, "decorator_list", [])))
        before, end_before = lines[end : first - 1], end
        end = node.end_lineno or first
        if _is_left_out(node, first=index == 0):
            continue
        gap = next((number for number, line in enumerate(before) if line.strip()), len(before))
        statement = _Statement(
            text="\n".join(lines[first - 1 : end]),
            lead="".join(f"{line}\n" for line in lines[end_before + gap : first - 1]),
            gap=gap,
            names=defined_names([node]),
            uses=module_names([node]),
            is_definition=isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef),
        )
        earlier = next((i for i, each in enumerate(statements) if {*each.names} & {*statement.names}), None)
        if earlier is not None:
            # What binds a name again stays in its place.
            statement = _together([*statements[earlier:], statement])
            del statements[earlier:]
        statements.append(statement)
    return iter(statements)


def _is_left_out(node: ast.stmt, *, first: bool) -> bool:
    """Whether a statement is an import, the docstring, or a part that runs as a program."""
    is_docstring = first and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_program = isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
    return is_docstring or is_program or isinstance(node, ast.Import | ast.ImportFrom)


def _together(statements: Sequence[_Statement]) -> _Statement:
    first, *others = statements
    text = first.text + "".join("\n" + "\n" * each.gap + each.lead + each.text for each in others)
    return replace(
        first,
        text=text,
        names=tuple(dict.fromkeys(name for each in statements for name in each.names)),
        uses=frozenset().union(*(each.uses for each in statements)),
        is_definition=any(each.is_definition for each in statements),
    )


def _used(statements: Sequence[_Statement], roots: Collection[str]) -> list[_Statement]:
    """Return what some names need: what defines them and what that uses, and what defines nothing."""
    waiting, kept = list(roots), {place for place, each in enumerate(statements) if not each.names}
    waiting += [name for place in kept for name in statements[place].uses]
    while waiting:
        name = waiting.pop()
        for place, each in enumerate(statements):
            if name in each.names and place not in kept:
                kept.add(place)
                waiting += each.uses
    return [statements[place] for place in sorted(kept)]


def _used_import(
    node: ast.Import | ast.ImportFrom, used: Collection[str]
) -> ast.Import | ast.ImportFrom | None:
    if isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*"):
        return node
    names = [each for each in node.names if (each.asname or each.name.partition(".")[0]) in used]
    if isinstance(node, ast.ImportFrom):
        return ast.ImportFrom(module=node.module, names=names, level=node.level) if names else None
    return ast.Import(names=names) if names else None


def _kinds(modules: Sequence[_Module]) -> dict[_Key, int]:
    """Number the statements: equal numbers for those of equal texts whose names mean the same.

    The classes of equal texts are split until the meanings of all names agree. A statement that defines
    nothing, such as `SIZES.append(8)`, is a part of the meaning of the names that it uses.
    """
    signatures: dict[_Key, Any] = {}
    for number, module in enumerate(modules):
        counts = Counter[str]()
        for place, each in enumerate(module.statements):
            # The second of two equal ones, which may change something again.
            counts[each.text] += 1
            signatures[number, place] = (each.names, each.text, counts[each.text])
    count = 0
    while True:
        kinds = _numbered(signatures)
        if len(set(kinds.values())) == count:
            return kinds
        count = len(set(kinds.values()))
        for number, module in enumerate(modules):
            meanings: dict[str, Any] = dict(module.aliases())
            for place, each in enumerate(module.statements):
                meanings |= dict.fromkeys(each.names, kinds[number, place])
            changes = [
                (each.uses, kinds[number, place])
                for place, each in enumerate(module.statements)
                if not each.names
            ]
            for place, each in enumerate(module.statements):
                used = tuple((name, meanings.get(name)) for name in sorted(each.uses))
                changed = tuple(kind for uses, kind in changes if uses.intersection(each.names))
                signatures[number, place] = (kinds[number, place], used, changed)


def _numbered(signatures: Mapping[_Key, Any]) -> dict[_Key, int]:
    numbers: dict[Any, int] = {}
    return {key: numbers.setdefault(signature, len(numbers)) for key, signature in signatures.items()}


def _names(
    modules: Sequence[_Module], kinds: Mapping[_Key, int], versions: Sequence[Version]
) -> list[dict[str, str]]:
    """Return the names in the file of what each version defines or imports."""
    taken = {word for each in versions for word in re.findall(r"\w+", each.text)}
    reserved = {name for version in versions for name in version.new.values()}
    new: dict[tuple[str, Any], str] = {}
    meanings = [_meanings(number, module, kinds) for number, module in enumerate(modules)]
    for version, of_version in zip(versions, meanings, strict=True):
        for name in version.new.keys() & of_version.keys():
            new.setdefault((name, of_version[name]), version.new[name])
    several = {
        name
        for each in meanings
        for name in each
        if len(
            {meaning[name] for meaning in meanings if name in meaning and (name, meaning[name]) not in new}
        )
        > 1
    }
    for number, of_version in enumerate(meanings):
        for name, meaning in of_version.items():
            if (name, meaning) in new:
                continue
            # An import keeps its name if it is the first.
            is_first = isinstance(meaning, str) and not any(name in each for each in meanings[:number])
            keeps = name not in reserved and (name not in several or is_first)
            new[name, meaning] = name if keeps else _free(f"{name}_{number + 1}", taken | reserved)
    return [{name: new[name, meaning] for name, meaning in each.items()} for each in meanings]


def _meanings(number: int, module: _Module, kinds: Mapping[_Key, int]) -> dict[str, Any]:
    """Return what each name of a version means: the number of a statement, or the text of an import."""
    meanings: dict[str, Any] = dict(module.aliases())
    for place, each in enumerate(module.statements):
        meanings |= dict.fromkeys(each.names, kinds[number, place])
    return meanings


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _renamed_import(
    node: ast.Import | ast.ImportFrom, names: Mapping[str, str]
) -> ast.Import | ast.ImportFrom:
    """Return an import under the names that it has in the file."""
    aliases = []
    for each in node.names:
        own = each.asname or each.name.partition(".")[0]
        new = names.get(own, own)
        aliases.append(each if new == own else ast.alias(name=each.name, asname=new))
    if isinstance(node, ast.ImportFrom):
        return ast.ImportFrom(module=node.module, names=aliases, level=node.level)
    return ast.Import(names=aliases)


def _joined(parts: Sequence[_Statement]) -> str:
    """Return statements with the empty lines that a formatter leaves between them."""
    text, after_definition = "\n", False
    for number, each in enumerate(parts):
        wide = after_definition or each.is_definition
        gap = 2 if wide else min(each.gap, 2) if number else 1
        text += "\n" * gap + each.lead + each.text + "\n"
        after_definition = each.is_definition
    return text
