"""Text for terminals, Markdown and CSV: escaping, percentages, plurals, durations and tables."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_MAX_NAME_LENGTH = 200
# The first characters of a formula; the wide ones count in Japanese and Chinese spreadsheets.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_FORMULA_LATER = re.compile(rf";(?=\s*[{re.escape(''.join(_FORMULA))}])")
# The bytes of a file name that are not UTF-8, as Python decodes them.
_FOREIGN_BYTES = range(0xDC80, 0xDD00)


def printable(text: str) -> str:
    r"""Replace characters that could control a terminal: all but printable ones and newlines become `?`.

    The byte 0xE9 of a file name that is not UTF-8 becomes the six characters `\udce9`, as in JSON.

    >>> printable("a\x1b[31mb\u202ec\nd")
    'a?[31mb?c\nd'
    >>> print(printable("caf\udce9.png"))
    caf\udce9.png
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    return f"\\u{ord(char):x}" if ord(char) in _FOREIGN_BYTES else "?"


def printable_value(value: Any) -> Any:
    """Make a template value printable; text marked as safe, and values of other types, are unchanged."""
    return printable(value) if type(value) is str and not value.isprintable() else value


def in_line(text: str) -> str:
    r"""Return untrusted text as part of a line: printable, without newlines.

    >>> in_line("cat\ndog")
    'cat?dog'
    """
    return printable(text).replace("\n", "?")


def one_line(name: str) -> str:
    """Return an untrusted name as part of a line, of at most 200 characters.

    >>> len(one_line("x" * 10_000))
    200
    """
    line = in_line(name)
    return line if len(line) <= _MAX_NAME_LENGTH else line[: _MAX_NAME_LENGTH - 1] + "…"


def percent(share: float | None, decimals: int = 2) -> str:
    """Format a share as a percentage.

    >>> percent(0.8379), percent(0.5, 0), percent(None)
    ('83.79 %', '50 %', 'undefined')
    """
    return "undefined" if share is None else f"{100 * share:.{decimals}f} %"


def short_percent(share: float) -> str:
    """Format a setting that is a share as a percentage in its shortest form, free of binary rounding.

    >>> short_percent(0.07), short_percent(0.125), short_percent(1 / 3), short_percent(1e-7)
    ('7 %', '12.5 %', '33.3333 %', '1e-05 %')
    """
    return f"{100 * share:.6g} %"


def plural(count: int, noun: str) -> str:
    """Return a count and its noun.

    >>> plural(1, "issue"), plural(1200, "issue"), plural(2, "class"), plural(0, "copy"), plural(9, "epoch")
    ('1 issue', '1,200 issues', '2 classes', '0 copies', '9 epochs')
    """
    if count == 1:
        return f"1 {noun}"
    if re.search(r"[^aeiou]y$", noun):
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}{'es' if re.search(r'(s|x|sh|[^o]ch)$', noun) else 's'}"


def join_first(names: Iterable[object], most: int, between: str = ", ") -> str:
    """Return the first of some names in a line, and how many more there are.

    >>> join_first(["cat", "dog"], 2), join_first(["cat", "dog", "bee"], 2)
    ('cat, dog', 'cat, dog and 1 more')
    """
    every = [str(name) for name in names]
    rest = len(every) - most
    return between.join(every[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """Return the first of some lines, and one that says how many more there are.

    >>> first_lines(["cat", "dog", "bee"], 2)
    ['cat', 'dog', 'and 1 more']
    """
    rest = len(lines) - most
    return [*lines[:most], *([f"and {rest:,} more"] if rest > 0 else [])]


def from_least_to_most(texts: Sequence[str], values: Sequence[float]) -> str:
    """Return the text of the smallest and that of the largest value, the first of equal ones and the last.

    >>> from_least_to_most(["cat 3", "dog 1", "bee 9"], [3, 1, 9])
    'from dog 1 to bee 9'
    """
    order = sorted(range(len(texts)), key=lambda place: values[place])
    return f"from {texts[order[0]]} to {texts[order[-1]]}"


def size_text(count: int) -> str:
    """Format a number of bytes in the largest unit of which there is at least one.

    >>> size_text(700), size_text(26_310_554), size_text(3 * 2**40)
    ('700 bytes', '25.1 MiB', '3,072.0 GiB')
    """
    if count < 1024:
        return plural(count, "byte")
    # 1,023.96 KiB would be printed as 1,024.0 KiB.
    power = 1 + sum(count >= 1023.95 * 1024**power for power in (1, 2))
    return f"{count / 1024**power:,.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def format_duration(seconds: float) -> str:
    """Format a duration as minutes and seconds, with hours if there are any.

    >>> format_duration(17.4), format_duration(3725)
    ('00:17', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def escape_markdown(text: object) -> str:
    r"""Escape text for Markdown, table cells included.

    >>> escape_markdown("<b>a|b</b>")
    '&lt;b&gt;a\\|b&lt;/b&gt;'
    """
    plain = printable(" ".join(str(text).split()))
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", escaped)


def fenced(text: str, language: str = "text") -> str:
    """Return printable text as a Markdown code block whose fence is longer than any fence in it."""
    text = printable(text.expandtabs(4))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Format a Markdown table: the first `left` columns are left-aligned, the others right-aligned.

    >>> print(markdown_table(["layer", "size"], [["conv", "32"]]))
    | layer | size |
    | ----- | ---: |
    | conv  |   32 |
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width) if index < left else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def escape_json(text: str) -> str:
    r"""Escape the characters in JSON that are not printable; the values stay the same.

    >>> escape_json('["\u202e", "\x7f", "ü"]')
    '["\\u202e", "\\u007f", "ü"]'
    """
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1].replace("\x7f", "\\u007f")
        for char in text
    )


def csv_row(cells: Iterable[Any]) -> str:
    r"""Format a CSV row of one line in which text is printable and no spreadsheet takes it for a formula.

    >>> csv_row(["a,b", "=1+1", -2, "two\nlines"])
    '"a,b",\'=1+1,-2,two?lines\n'
    >>> csv_row(["ada;=HYPERLINK(1)", "a; b - c"])
    "ada;'=HYPERLINK(1),a; b - c\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        _csv_text(cell) if isinstance(cell, str) else cell for cell in cells
    )
    return text.getvalue()


def _csv_text(cell: str) -> str:
    quoted = f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell
    # In some languages a spreadsheet divides a line at semicolons, quoted or not.
    return in_line(_FORMULA_LATER.sub(";'", quoted))
