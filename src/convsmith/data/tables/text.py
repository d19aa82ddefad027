"""Tables as text: CSV, lists of paths, JSON and JSON lines, each row with its line."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.listing import SUFFIXES
from convsmith.data.files.storage import Files
from convsmith.errors import DataError, FileError
from convsmith.system import reading
from convsmith.text import plural

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".lst", ".json", ".jsonl", ".ndjson"})
_MAX_BYTES = 2**28
_SEPARATORS = {".tsv": "\t,;|"}
# Rows that decide about the separator.
_SAMPLE = 200
_AFTER_SUFFIX = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))}))[\s,;]+(.*)", re.IGNORECASE
)


class Several(tuple[str, ...]):
    """The labels of an image that has several."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """One way to read a file as a table.

    Attributes:
        rows: Cells without the spaces around them; None if they are empty.
        lines: The line of each row, or the number of its entry, from 1.
        unit: `"line"` or `"entry"`.
        header: The names of the columns; None if the first row may have them.
        problem: Why the file is no table if it is read like this.
        declared: The classes, if the file lists them.
    """

    rows: Sequence[Sequence[Any]]
    lines: Sequence[int]
    unit: str = "line"
    header: tuple[str, ...] | None = None
    problem: str | None = None
    declared: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        return len(self.header or (self.rows[0] if self.rows else ()))

    def with_header(self) -> "TextTable":
        """Return the table with its first row as the names of the columns."""
        names = tuple(
            str(cell) if cell is not None else str(index) for index, cell in enumerate(self.rows[0], 1)
        )
        return self._named(names, 1)

    def with_numbers(self) -> "TextTable":
        """Return the table with the numbers of the columns, from 1, as their names."""
        return self._named(tuple(str(index) for index in range(1, self.width + 1)), 0)

    def _named(self, names: tuple[str, ...], start: int) -> "TextTable":
        return TextTable(
            rows=self.rows[start:],
            lines=self.lines[start:],
            unit=self.unit,
            header=names,
            problem=self.problem,
            declared=self.declared,
        )


def read_tables(files: Files, path: PurePosixPath) -> list[TextTable]:
    """Return the ways to read a file as a table, the most likely first.

    Raises:
        DataError: The file is too large, no UTF-8 or UTF-16 text, or invalid JSON.
    """
    where = f"{files.location}/{path}"
    try:
        text = _decoded(files.read(path, _MAX_BYTES), where)
        match path.suffix.lower():
            case ".json":
                return _json_tables(reading.parse_json(text))
            case ".jsonl" | ".ndjson":
                return [_records(list(_json_lines(text)), "line")]
            case ".csv" | ".tsv":
                return [_separated(text, _SEPARATORS.get(path.suffix.lower(), ",;\t|"))]
            case _:
                return _lists(text)
    except FileError as error:
        problem = error.problems[0]
        raise DataError(problem.what, where=where, fix=problem.fix) from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"cannot be read as a table: {error}", where=where, fix="correct the file") from error


def _decoded(content: bytes, where: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"no UTF-8 text: line {line} has the byte {content[error.start]:02x}",
            where=where,
            fix='save it as "CSV UTF-8", or convert it: iconv -f WINDOWS-1252 -t UTF-8',
        ) from error


def _separated(text: str, separators: str) -> TextTable:
    """Read CSV, separated by the character that gives most rows one number of columns, of two or more."""
    best, score = ",", (0.0, 0)
    for separator in separators:
        widths = Counter(len(row) for row, _ in _some(_csv(text, separator)))
        width, count = max(widths.items(), key=lambda each: (each[1], each[0]), default=(0, 0))
        share = (count / max(widths.total(), 1), width)
        if width > 1 and share > score:
            best, score = separator, share
    return _table(_csv(text, best), repr(best))


def _some(rows: Iterable[tuple[list[Any], int]]) -> Iterator[tuple[list[Any], int]]:
    for number, row in enumerate(rows):
        if number == _SAMPLE:
            return
        yield row


def _csv(text: str, separator: str) -> Iterator[tuple[list[Any], int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    for row in reader:
        yield [cell.strip() or None for cell in row], reader.line_num


def _table(numbered: Iterable[tuple[list[Any], int]], separator: str) -> TextTable:
    """Return the rows of the most common width; a row of another width is a problem, which is named."""
    rows = [(row, line) for row, line in numbered if any(cell is not None for cell in row)]
    widths = Counter(len(row) for row, _ in rows)
    width = widths.most_common(1)[0][0] if widths else 0
    cut = [
        (row[:width] if not any(cell is not None for cell in row[width:]) else row, at) for row, at in rows
    ]
    odd = [(len(row), line) for row, line in cut if len(row) != width]
    problem = None
    if odd:
        found, line = odd[0]
        rest = f", and so have {len(odd) - 1:,} more lines another number" if len(odd) > 1 else ""
        columns = plural(found, "column")
        problem = f"line {line} has {columns}{rest}, expected {width} (separated by {separator})"
    even = [(row, line) for row, line in cut if len(row) == width]
    return TextTable(rows=[row for row, _ in even], lines=[line for _, line in even], problem=problem)


def _lists(text: str) -> list[TextTable]:
    """Read a list of paths, alone or with a label: the files that exist decide what separates them."""
    lines = [(line.strip(), number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    tables = [TextTable(rows=[[line] for line, _ in lines], lines=[at for _, at in lines])]
    splits: list[tuple[str, Callable[[str], Sequence[str]]]] = [
        *((repr(sign), lambda line, sign=sign: line.split(sign)) for sign in "\t,;|" if sign in text),
        ("spaces", str.split),
        ("the last space", lambda line: line.rsplit(None, 1)),
        ("the first space", lambda line: line.split(None, 1)),
        ("a space after the suffix", _after_suffix),
    ]
    for name, split in splits:
        rows = [([cell.strip() or None for cell in split(line)], number) for line, number in lines]
        table = _table(rows, name)
        if table.width > 1:
            tables.append(table)
    return tables


def _after_suffix(line: str) -> Sequence[str]:
    found = _AFTER_SUFFIX.fullmatch(line)
    return found.groups() if found else [line]


def _json_lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield reading.parse_json(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error


def _json_tables(value: Any) -> list[TextTable]:
    match value:
        case {"images": list(images), "annotations": list(annotations), "categories": list(categories)}:
            return [_coco(images, annotations, categories)]
        case list() if value and all(isinstance(each, dict) for each in value):
            return [_records(value, "entry")]
        case list() if value and all(isinstance(each, list) for each in value):
            rows = [[_cell(cell) for cell in each] for each in value]
            return [_entries(rows, None)] if len({len(row) for row in rows}) == 1 else []
        case list() if value and all(isinstance(each, str) for each in value):
            return [_entries([[each] for each in value], ("file",))]
        case dict() if value:
            return _json_object(value)
        case _:
            return []


def _json_object(value: Mapping[str, Any]) -> list[TextTable]:
    """Read `{path: label}`, `{class: [path, ...]}`, or the only list of objects."""
    lists = [each for each in value.values() if isinstance(each, list) and each]
    if all(isinstance(each, str | int | float) for each in value.values()):
        return [_entries([[key, each] for key, each in value.items()], ("file", "label"))]
    if len(lists) == len(value) and all(isinstance(each, str) for cells in lists for each in cells):
        rows = [[path, name] for name, cells in value.items() for path in cells]
        return [_entries(rows, ("file", "label"))]
    records = [each for each in lists if all(isinstance(cell, dict) for cell in each)]
    return [_records(records[0], "entry")] if len(records) == 1 else []


def _entries(rows: list[list[Any]], header: tuple[str, ...] | None) -> TextTable:
    return TextTable(rows=rows, lines=range(1, len(rows) + 1), unit="entry", header=header)


def _records(records: Sequence[Any], unit: str) -> TextTable:
    if not all(isinstance(each, dict) for each in records):
        raise ValueError("expected an object in each entry")
    names = list(dict.fromkeys(name for each in records for name in each))
    rows = [[_cell(each.get(name)) for name in names] for each in records]
    return TextTable(rows=rows, lines=range(1, len(rows) + 1), unit=unit, header=tuple(names))


def _cell(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(each, str | int) for each in value):
        return value[0] if len(value) == 1 else Several(map(str, value))
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, int | float) else None


def _coco(images: Sequence[Any], annotations: Sequence[Any], categories: Sequence[Any]) -> TextTable:
    """Read images with annotations of categories; an image should have the annotations of one category."""
    try:
        names = {each["id"]: str(each["name"]) for each in sorted(categories, key=lambda each: each["id"])}
        labels: dict[Any, dict[str, None]] = {}
        for each in annotations:
            labels.setdefault(each["image_id"], {})[names[each["category_id"]]] = None
        rows = []
        for each in images:
            found = tuple(labels.get(each["id"], ()))
            rows.append([str(each["file_name"]), found[0] if len(found) == 1 else Several(found) or None])
    except (KeyError, TypeError) as error:
        raise ValueError(f"images, annotations and categories do not fit together: {error!r}") from error
    table = _entries(rows, ("file_name", "category"))
    return TextTable(
        rows=table.rows,
        lines=table.lines,
        unit="entry",
        header=table.header,
        # A category without images, such as the parents of others, is no class.
        declared=tuple(
            dict.fromkeys(name for name in names.values() if any(name in each for each in labels.values()))
        ),
    )
