"""The lines of a submission that a reader sees: texts, and the cells of notebooks with their outputs."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from convsmith.errors import ConvsmithError
from convsmith.grading.files import SubmissionFiles
from convsmith.system import reading

Kind = Literal["prose", "output"]
_MAX_NOTEBOOK, _MAX_TEXT = 2**26, 2**24
# A longer line is data, not a sentence.
_LONGEST = 500
_MOST_LINES = 200_000
# Colours of terminals.
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Texts that no student writes about a net.
_LISTS = ("requirements", "license", "labels", "classes")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a text, a Markdown cell or the output of a cell.

    Attributes:
        file: Relative to the submission.
        place: "line 12", "cell 3", "output of cell 3"; code cells are counted as the notebook's user does.
        kind: Whether a person wrote it, or a program.
        text: The line.
    """

    file: str
    place: str
    kind: Kind
    text: str


def lines_of(folder: Path, files: SubmissionFiles) -> list[Line]:
    """Return the lines of README, logs and notebooks; files that cannot be read are left out."""
    lines: list[Line] = []
    for name in (*files.texts, *(each for each in files.code if each.endswith(".ipynb"))):
        if len(lines) > _MOST_LINES or any(Path(name).stem.casefold().startswith(each) for each in _LISTS):
            continue
        try:
            reader = _notebook_lines if name.endswith(".ipynb") else _text_lines
            lines += reader(folder / name, name)
        except ConvsmithError:
            continue
    return lines[:_MOST_LINES]


def _text_lines(path: Path, name: str) -> Iterator[Line]:
    content = reading.read_bytes(path, _MAX_TEXT)
    # PowerShell writes what it redirects as UTF-16.
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    kind: Kind = "output" if name.lower().endswith((".log", ".out")) else "prose"
    for number, line in enumerate(text.splitlines(), start=1):
        # A progress bar overwrites its line.
        for part in _ESCAPE.sub("", line).split("\r"):
            if part.strip() and len(part) <= _LONGEST:
                yield Line(file=name, place=f"line {number}", kind=kind, text=part.strip())


def _notebook_lines(path: Path, name: str) -> Iterator[Line]:
    content = reading.read_bytes(path, _MAX_NOTEBOOK)
    try:
        text = content.decode("utf-8-sig")
        notebook = json.loads(text) if reading.json_depth(text) <= 60 else {}
    except (ValueError, RecursionError):
        return
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    number = 0
    for cell in cells if isinstance(cells, list) else []:
        if not isinstance(cell, dict):
            continue
        if cell.get("cell_type") == "code":
            number += 1
            for output in _list(cell.get("outputs")):
                yield from _split(_output(output), name, f"output of cell {number}", "output")
        else:
            yield from _split(_joined(cell.get("source")), name, f"text before cell {number + 1}", "prose")


def _split(text: str, name: str, place: str, kind: Kind) -> Iterator[Line]:
    for part in re.split(r"[\r\n]", _ESCAPE.sub("", text)):
        if part.strip() and len(part) <= _LONGEST:
            yield Line(file=name, place=place, kind=kind, text=part.strip())


def _output(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    data = output.get("data")
    plain = data.get("text/plain") if isinstance(data, dict) else None
    return _joined(output.get("text") or plain)


def _joined(value: Any) -> str:
    return (
        value if isinstance(value, str) else "".join(each for each in _list(value) if isinstance(each, str))
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
