"""Run the statements of a user's file, as far as they are harmless."""

import __future__

import ast
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from convsmith.modules.harmless import Harmless
from convsmith.modules.limits import InputNeededError
from convsmith.modules.source_text import Omission, SourceText
from convsmith.modules.stand_ins import StandIn, StandInError, StandInModule

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
# Neither has an effect on a definition, and a file that has one is still run as it is.
_UNCOUNTED = (ast.Assert, ast.Delete)
_STAND_INS = (StandIn, StandInModule)
_FOLDER_CALLS = {"sys.path.append", "sys.path.insert", "os.chdir"}
_MAIN = 'under `if __name__ == "__main__"`, which is not run'


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A harmless statement that raised an exception."""

    line: int
    error: BaseException


@dataclass(kw_only=True)
class Statements:
    """Runs a file's statements one after the other.

    Attributes:
        source: The statements.
        namespace: The module's names.
        file: The name of the file in tracebacks.
        omissions: What was not run or failed.
        refused: How many statements were not run since they are not harmless.
        failures: Harmless statements that failed for another reason than a missing package.
        classes: The classes that were defined, by their names, also where a later statement replaced one.
        left_out: What Python would run and this did not, see `plain_text`.
        skipped: What makes no difference, unless something else is left out.
        missing: The names of each import that are stand-ins; "*" for all.
    """

    source: SourceText
    namespace: dict[str, Any]
    file: str
    add_folder: Callable[[str], None]
    omissions: list[Omission] = field(default_factory=list)
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)
    classes: dict[str, list[type]] = field(default_factory=dict)
    left_out: list[ast.stmt] = field(default_factory=list)
    skipped: list[ast.stmt] = field(default_factory=list)
    missing: dict[ast.stmt, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._judge = Harmless(self.namespace)
        self._flags = _future_flags(self.source.body)
        self._frozen: frozenset[str] = frozenset()
        self._wanted = ("", 0)
        self._seen = 0

    def run(self, name: str = "", occurrence: int | None = None) -> None:
        """Run the statements.

        Args:
            name: The definition that is wanted. After it, names that have a value keep it: in a notebook,
                and where `occurrence` is given. A net of a notebook is made of what was defined when its
                cell was run, not of a later block of the same name.
            occurrence: Of several definitions of this name, 1 for the first; None for the last.
        """
        self.omissions += self.source.omissions
        for folder in self.source.folders:
            self.add_folder(folder)
        count = definitions(self.source.body)[name]
        if name and count and (occurrence is not None or self.source.is_notebook):
            self._wanted = (name, occurrence or count)
        self._run_all(self.source.body)

    def _run_all(self, body: Sequence[ast.stmt], *, inside_try: bool = False) -> None:
        for node in body:
            self._run(node, inside_try=inside_try)

    def _run(self, node: ast.stmt, *, inside_try: bool) -> None:
        if isinstance(node, ast.If):
            self._run_if(node, inside_try=inside_try)
        elif isinstance(node, ast.Try):
            self._run_try(node, inside_try=inside_try)
        elif isinstance(node, ast.For) and self._judge.loop_fits(node):
            self._run_simple(node, inside_try=inside_try)
        elif isinstance(node, _UNCOUNTED):
            self.skipped.append(node)
        elif folder := _added_folder(node):
            self.add_folder(folder)
            (self.left_out if "chdir" in ast.unparse(node) else self.skipped).append(node)
        elif reason := self._judge.objection(node):
            self._omit(node, reason, refused=True)
        else:
            self._run_simple(node, inside_try=inside_try)

    def _run_simple(self, node: ast.stmt, *, inside_try: bool) -> None:
        names = bound_names(node)
        if names and names <= self._frozen:
            self.left_out.append(node)
            return
        before = {name: self.namespace[name] for name in names if name in self.namespace}
        try:
            self._execute(node)
        except (Exception, SystemExit) as error:
            if inside_try:
                raise
            self._fail(node, error)
        self._follow(node, names, before)

    def _follow(self, node: ast.stmt, names: frozenset[str], before: dict[str, Any]) -> None:
        """Look at what a statement has defined."""
        if isinstance(node, ast.ClassDef) and isinstance(self.namespace.get(node.name), type):
            self.classes.setdefault(node.name, []).append(self.namespace[node.name])
        if isinstance(node, ast.Import | ast.ImportFrom):
            if absent := frozenset(
                name for name in names if isinstance(self.namespace.get(name), _STAND_INS)
            ):
                self.missing[node] = absent
            # In Python an import that fails leaves the names as they are.
            kept = {name: value for name, value in before.items() if not isinstance(value, _STAND_INS)}
            self.namespace.update(
                {name: kept[name] for name in kept if isinstance(self.namespace[name], _STAND_INS)}
            )
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            self._note_empty_star(node)
        if self._wanted[0] in names and isinstance(node, _DEFINITIONS):
            self._seen += 1
            if self._seen == self._wanted[1]:
                self._frozen = frozenset(self.namespace)

    def _execute(self, node: ast.stmt) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.Module([node], [])
            code = compile(tree, self.file, "exec", flags=self._flags, dont_inherit=True)
        exec(code, self.namespace)  # noqa: S102 - the user's own file

    def _run_if(self, node: ast.If, *, inside_try: bool) -> None:
        if _is_main_guard(node.test):
            self._omit(node, _MAIN, runs_in_python=False)
            self._run_all(node.orelse, inside_try=inside_try)
        elif not self._judge.harmless(node.test):
            self._omit(node, "not run", refused=True)
        else:
            try:
                expression = ast.Expression(node.test)
                code = compile(expression, self.file, "eval", flags=self._flags, dont_inherit=True)
                holds = eval(code, self.namespace)  # noqa: S307 - the user's own file
            except Exception as error:
                if inside_try:
                    raise
                self._fail(node, error)
            else:
                self._run_all(node.body if holds else node.orelse, inside_try=inside_try)

    def _run_try(self, node: ast.Try, *, inside_try: bool) -> None:
        try:
            self._run_all(node.body, inside_try=True)
        except (Exception, SystemExit) as error:
            handler = next((each for each in node.handlers if self._catches(each, error)), None)
            if handler is None:
                if inside_try:
                    raise
                self._fail(node, error)
            else:
                if handler.name:
                    self.namespace[handler.name] = error
                self._run_all(handler.body, inside_try=inside_try)
        else:
            self._run_all(node.orelse, inside_try=inside_try)
        self._run_all(node.finalbody, inside_try=inside_try)

    def _catches(self, handler: ast.ExceptHandler, error: BaseException) -> bool:
        if handler.type is None:
            return True
        if not self._judge.harmless(handler.type):
            return False
        code = compile(ast.Expression(handler.type), self.file, "eval", dont_inherit=True)
        try:
            return isinstance(error, eval(code, self.namespace))  # noqa: S307 - the user's own file
        except Exception:  # noqa: BLE001 - a name that does not exist, or no exception
            return False

    def _omit(
        self, node: ast.stmt, reason: str, *, refused: bool = False, runs_in_python: bool = True
    ) -> None:
        self.refused += refused
        if runs_in_python:
            self.left_out.append(node)
        self.omissions.append(
            Omission(
                place=self.source.place(node.lineno),
                words=self.source.words(node),
                reason=reason,
                names=frozenset(name for each in _inner(node) for name in bound_names(each)),
            )
        )

    def _fail(self, node: ast.stmt, error: BaseException) -> None:
        plain = isinstance(error, StandInError | InputNeededError)
        text = str(error) if plain else f"{type(error).__name__}: {error}"
        self._omit(node, text)
        if not isinstance(error, StandInError):
            self.failures.append(Failure(line=_line_of(error, self.file) or node.lineno, error=error))

    def _note_empty_star(self, node: ast.ImportFrom) -> None:
        """Note that the names of `from x import *` are unknown if x is not there."""
        imported = self.namespace["__builtins__"]["__import__"](
            node.module or "", self.namespace, None, ("*",), node.level
        )
        if isinstance(imported, StandInModule):
            self.missing[node] = frozenset("*")
            self.omissions.append(
                Omission(
                    place=self.source.place(node.lineno),
                    words=self.source.words(node),
                    reason=imported.stand_in_reason,
                    names=frozenset("*"),
                )
            )


def definitions(body: Sequence[ast.stmt]) -> Counter[str]:
    """Count the definitions of each name: classes, functions and assignments, also under `if` and `try`."""
    return Counter(
        name
        for statement in body
        for node in _inner(statement)
        if isinstance(node, _DEFINITIONS)
        for name in bound_names(node)
    )


def bound_names(node: ast.stmt) -> frozenset[str]:
    """Return the names that a statement defines, without those of its blocks."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset({node.name})
    if isinstance(node, ast.Import | ast.ImportFrom):
        return frozenset((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    targets: list[ast.AST] = list(getattr(node, "targets", [])) if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign | ast.For):
        targets = [node.target]
    elif isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items if item.optional_vars]
    if targets:
        stored = (each for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
        return frozenset(each.id for each in stored if isinstance(each.ctx, ast.Store))
    # `x += 1` changes a value that is there.
    return frozenset()


def _inner(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield a statement and those of its blocks; not those of functions and classes."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _inner(child)
        elif isinstance(child, ast.ExceptHandler):
            for each in child.body:
                yield from _inner(each)


def _future_flags(body: Sequence[ast.stmt]) -> int:
    names = [
        alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    ]
    features = (getattr(__future__, name, None) for name in names)
    return sum(each.compiler_flag for each in features if each is not None)


def _is_main_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = [test.left, test.comparators[0]]
    return any(isinstance(each, ast.Name) and each.id == "__name__" for each in sides) and any(
        isinstance(each, ast.Constant) and each.value == "__main__" for each in sides
    )


def _added_folder(node: ast.stmt) -> str:
    """Return the folder of `sys.path.append("src")`, `sys.path.insert(0, "src")` or `os.chdir("src")`."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return ""
    call = node.value
    if ast.unparse(call.func) not in _FOLDER_CALLS or not call.args:
        return ""
    folder = call.args[-1]
    return folder.value if isinstance(folder, ast.Constant) and isinstance(folder.value, str) else ""


def _line_of(error: BaseException, file: str) -> int | None:
    """Return the last line of a file that an exception passed."""
    line, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line if line is not None else getattr(error, "lineno", None)
