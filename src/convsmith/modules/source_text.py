"""The Python text of a user's file: a `.py` file, or the code cells of a notebook without their magics."""

import ast
import json
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from convsmith.errors import ModuleError
from convsmith.system.reading import json_depth
from convsmith.text import one_line

_MAX_DEPTH = 200
# `%matplotlib inline`, `!pip install timm`, `?Net`, `Net?`, and `files = !ls`, `start = %time`.
_MAGIC = re.compile(
    r"\s*(?:[%!?]|[\w.]+\?{1,2}\s*$|[\w., ]+=\s*(?:!|%\w))|\s*(?:pip3?|conda|apt-get) install "
)
_CD = re.compile(r"^\s*[%!]\s*cd\s+([^\n;&|$]+?)\s*$", re.MULTILINE)
_CLONE = re.compile(r"^\s*[%!].*?\bgit\s+clone\s+(?:-\S+\s+)*['\"]?(https?://[^\s'\"]+)", re.MULTILINE)
# Cells that are Python all the same.
_PYTHON_CELL = re.compile(r"\s*%%(?:time|timeit|capture|prun|python3?)\b")
_LONGEST_WORDS = 60


@dataclass(frozen=True, kw_only=True)
class Omission:
    """A statement that was not run, or that failed.

    Attributes:
        place: "line 12", or "cell 3, line 5".
        words: The beginning of the statement.
        reason: Why it was left out.
        names: The names that it would have defined; "*" for `from x import *`.
    """

    place: str
    words: str
    reason: str
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.place}: {self.words}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class SourceText:
    """The statements of a file.

    Attributes:
        text: The Python text; that of a notebook has all cells in one, magics replaced by `pass`.
        body: The top-level statements.
        cells: For a notebook, the number of each code cell and the first of its lines in `text`.
        omissions: Cells that are no Python.
        folders: Folders that the notebook changes to: `%cd src`.
        clones: Addresses of repositories that it clones: `!git clone https://github.com/owner/name`.
    """

    text: str
    body: tuple[ast.stmt, ...]
    cells: tuple[tuple[int, int], ...] = ()
    omissions: tuple[Omission, ...] = ()
    folders: tuple[str, ...] = ()
    clones: tuple[str, ...] = ()
    is_notebook: bool = False

    def place(self, line: int) -> str:
        """Name a line of `text` as the user sees it: "line 12", or "cell 3, line 5", counted from 1."""
        number, line = self.cell_and_line(line)
        return f"cell {number}, line {line}" if number else f"line {line}"

    def cell_and_line(self, line: int) -> tuple[int, int]:
        """Return the code cell of a notebook and the line in it, from 1; cell 0 for a Python file."""
        if not self.cells:
            return 0, line
        number, first = self.cells[max(0, bisect_right(self.cells, line, key=lambda cell: cell[1]) - 1)]
        return number, line - first + 1

    def words(self, node: ast.stmt) -> str:
        """Return the beginning of a statement."""
        lines = text_lines(self.text)
        line = lines[node.lineno - 1].strip() if node.lineno <= len(lines) else ""
        return one_line(line if len(line) <= _LONGEST_WORDS else f"{line[:_LONGEST_WORDS]}...")


def parse_python(content: bytes, name: str) -> SourceText:
    """Parse a `.py` file, without the lines that only notebooks know (`!pip install`).

    Raises:
        ModuleError: The file is no Python, with its line.
    """
    try:
        return SourceText(text=_decoded(content), body=tuple(_parsed(content).body))
    except _UNPARSABLE as error:
        try:
            text = without_magics(_decoded(content))
            omission = Omission(place="its notebook lines", words="! and %", reason="not Python")
            return SourceText(text=text, body=tuple(_parsed(text).body), omissions=(omission,))
        except _UNPARSABLE:
            raise _unparsable(error, name) from error


def parse_notebook(content: bytes, name: str) -> SourceText:
    """Parse the code cells of a notebook of format 3 or 4. Cells that are no Python are left out.

    Raises:
        ModuleError: The file is no notebook, or one of another language.
    """
    lines: list[str] = []
    body: list[ast.stmt] = []
    cells, omissions = [], []
    texts = list(_cells(content, name))
    for number, text in enumerate(texts, start=1):
        first = len(lines) + 1
        cells.append((number, first))
        try:
            python = _python_of(text)
            body += [ast.increment_lineno(node, first - 1) for node in _parsed(python, is_cell=True).body]
        except _UNPARSABLE as error:
            reason = "not Python" if text.lstrip().startswith("%%") else f"{type(error).__name__}: {error}"
            words = one_line(text.strip().partition("\n")[0][:_LONGEST_WORDS])
            omissions.append(
                Omission(place=f"cell {number}", words=words, reason=reason, names=_assigned(text))
            )
            # So that the text is Python as a whole.
            python = "\n".join(f"# {line}" for line in text_lines(text))
        lines += text_lines(python)
    if not cells:
        raise ModuleError("the notebook has no code cell", where=name, fix="save it with its cells")
    return SourceText(
        text="\n".join([*lines, ""]),
        body=tuple(body),
        cells=tuple(cells),
        omissions=tuple(omissions),
        folders=tuple(folder.strip("'\"") for folder in _CD.findall("\n".join(texts))),
        clones=tuple(_CLONE.findall("\n".join(texts))),
        is_notebook=True,
    )


def without_magics(text: str) -> str:
    r"""Return a text with `pass` in place of the lines that only notebooks know.

    >>> without_magics("!pip install timm\nif x:\n    %cd ..\n    y = 1")
    'pass\nif x:\n    pass\n    y = 1'
    """
    lines, goes_on = [], False
    for line in text_lines(text):
        magic = _MAGIC.match(line) is not None
        indentation = line[: len(line) - len(line.lstrip())]
        lines.append("" if goes_on else f"{indentation}pass" if magic else line)
        goes_on = (goes_on or magic) and line.rstrip().endswith("\\")
    return "\n".join(lines)


_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def _parsed(text: str | bytes, *, is_cell: bool = False) -> ast.Module:
    with warnings.catch_warnings():
        # "\d" in a text that is no raw string.
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
        # IPython compiles the statements of a cell one by one, so `__future__` may be imported in any line.
        body = [node for node in tree.body if not (is_cell and _is_future(node))]
        # Some errors are found only later: `return` outside of a function.
        compile(ast.Module(body, []), "<source>", "exec", dont_inherit=True)
        return tree


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _decoded(content: bytes) -> str:
    """Decode a file by the encoding that it declares, as Python does."""
    import io
    import tokenize

    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)


def _unparsable(error: BaseException, name: str) -> ModuleError:
    if isinstance(error, UnicodeDecodeError) or re.search(
        "codec can't decode|encoding declaration", str(error)
    ):
        return ModuleError(f"not UTF-8 text: {error}", where=name, fix="save the file as UTF-8")
    line = getattr(error, "lineno", None)
    where = f"{name}, line {line}" if line else name
    message = getattr(error, "msg", None) or str(error)
    shown = (getattr(error, "text", None) or "").strip()
    hint = "it is written for Python 2: " if message.startswith("Missing parentheses in call to") else ""
    return ModuleError(
        f"the file cannot be run: {type(error).__name__}: {message}",
        where=where,
        context=one_line(shown),
        fix=f"{hint}correct this line" if line else "correct the file",
    )


def _cells(content: bytes, name: str) -> Iterator[str]:
    """Yield the texts of the code cells."""
    notebook = _read_notebook(content, name)
    language = _language(notebook)
    if language not in {"", "python"}:
        raise ModuleError(f"found a notebook in {language}, expected Python", where=name)
    cells = notebook.get("cells")
    if cells is None:  # Format 3.
        sheets = [each for each in _list(notebook.get("worksheets")) if isinstance(each, dict)]
        cells = [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
    for cell in _list(cells):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            yield source if isinstance(source, str) else "".join(map(str, _list(source)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_notebook(content: bytes, name: str) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        # Deep nesting would exhaust the stack.
        notebook = json.loads(text) if json_depth(text) <= _MAX_DEPTH else None
    except (ValueError, RecursionError) as error:
        found = "a web page" if content.lstrip()[:1] == b"<" else "no JSON"
        raise ModuleError(
            f"not a notebook: found {found}: {one_line(str(error))}",
            where=name,
            fix="save it again as .ipynb (download the file itself, not its page), or as a .py file",
        ) from error
    if not isinstance(notebook, dict) or not {"cells", "worksheets"} & set(notebook):
        raise ModuleError(
            "not a notebook: it has no cells", where=name, fix="save it again as .ipynb, or as a .py file"
        )
    return notebook


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    for key, field in (("kernelspec", "language"), ("language_info", "name")):
        found = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(found, dict) and isinstance(found.get(field), str):
            return str(found[field]).lower().removesuffix("3")
    return ""


def _python_of(text: str) -> str:
    """Return a cell without magics. Raises SyntaxError if it is no Python even so."""
    if text.lstrip().startswith("%%"):
        if not _PYTHON_CELL.match(text):
            raise SyntaxError("not Python")
        start = text.index("%%")
        text = f"{text[:start]}#{text[start:]}"
    try:
        _parsed(text)
    except _UNPARSABLE:
        return without_magics(text)
    return text


def text_lines(text: str) -> list[str]:
    """Return the lines as Python counts them; `splitlines` knows more ends of lines."""
    return re.split(r"\r\n|\r|\n", text)


def _assigned(text: str) -> frozenset[str]:
    """Return the names that a text which is no Python seems to define."""
    found = re.findall(r"^(?:class|def)\s+(\w+)|^(\w+)\s*=[^=]", text, flags=re.MULTILINE)
    return frozenset(name for pair in found for name in pair if name)
