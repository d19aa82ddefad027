"""What a line of a submission says about its net: patterns of numbers with their meaning."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.grading.lines import Line

Quantity = Literal["parameters", "test accuracy", "receptive field", "epochs", "batch size"]

# Not a result but a rule or an aim.
_AIM = re.compile(
    r"(?i)\b(less|fewer|lesser|under|below|within|at most|at least|up ?to|more than|over|above|minimum|"
    r"maximum|max|min|limit|target|goal|aim|should|must|need|require\w*|reduce\w*|increase\w*|add\w*|upper|budget|"
    r"constraint\w*|want\w*|expect\w*|to achieve|achieve a|get to|try|let'?s)\b|[<>≤≥]"
)
_NUMBER = r"(?P<number>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)\s*(?P<unit>[kKmM](?![a-zA-Z]))?"
_PERCENT = r"(?P<number>\d{1,3}(?:\.\d+)?)\s*%?"
# Between a name and its number, with the marks of Markdown.
_IS = r"\s*[*_`]*\s*(?:[:=|]|is|are|-)+\s*[*_`~]*\s*"
_KIND = r"(?:total |trainable |learnable |model )*"
_PARAMETERS = (
    re.compile(rf"(?i)\b(?:total|number of|no\.? of|#)\s*{_KIND}param\w*\W{{1,12}}{_NUMBER}(?!\s*%)"),
    re.compile(rf"(?i)^\W*{_KIND}param\w*(?: count| used)?{_IS}{_NUMBER}(?!\s*%)"),
    re.compile(rf"(?i)\b{_NUMBER}\s*{_KIND}(?:param)(?:eter)?s?\b"),
)
_SIZES = re.compile(r"(?i)non-trainable|params size|MB\)|estimated|per cent|param #")
_SET = r"(?:test|validation|val)\w*"
_ACCURACY = (
    re.compile(rf"(?i)\b{_SET}[ _-]*acc\w*[^\d%|]{{0,25}}?{_PERCENT}"),
    re.compile(rf"(?i)\bacc\w*\s*(?:on|of)?\s*(?:the )?{_SET}(?: set| data)?[^\d%|]{{0,15}}?{_PERCENT}"),
    re.compile(rf"(?i){_PERCENT}\s*{_SET}[ _-]*acc"),
)
_FIELD = (
    re.compile(
        r"(?i)\b(?:final|total|overall|global|output|max\w*|net\w*|model\w*)?\s*receptive[ _-]?field"
        r"[^\d|]{0,30}?(?P<number>\d{1,4})(?!\d)"
    ),
    re.compile(r"(?i)\b(?:final|total|overall|output)\s*RF\b[^\d|]{0,12}?(?P<number>\d{1,4})\b"),
)
_EPOCHS = (
    re.compile(
        r"(?i)\b(?:no\.? of |number of |total |num[ _])?epochs?\s*[*_`]*\s*[:=]\s*[*_`]*"
        r"\s*(?P<number>\d{1,4})\b(?![/.])"
    ),
    re.compile(r"(?i)\b(?:trained|ran|run|training)\b[^.\d]{0,20}\b(?P<number>\d{1,4})\s*epochs?\b"),
)
_BATCH = (re.compile(r"(?i)\bbatch[ _-]?size\s*[*_`]*\s*(?:[:=|]|is|of)?\s*[*_`]*\s*(?P<number>\d{1,5})\b"),)


# No net has so many parameters.
_MOST = 10**15
_Make = Callable[["re.Match[str]"], "Iterator[Statement]"]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A number with its meaning, as a line has it.

    Attributes:
        value: Of an accuracy from 0 to 1.
        digits: The decimals in which an accuracy is written in percent, or the significant digits of a count
            that is rounded ("7.6k"); None for an exact count.
        shown: As it stands there.
    """

    quantity: Quantity
    value: float
    digits: int | None = None
    shown: str
    line: Line


def statements_in(lines: Sequence[Line]) -> Iterator[Statement]:
    """Yield what lines say; tables in Markdown by their header.

    Example:
        >>> text = "| model | params | best test accuracy |", "|---|---|---|", "| 3 | 7,624 | 99.46 % |"
        >>> lines = [Line(file="README.md", place="line 1", kind="prose", text=each) for each in text]
        >>> [(each.quantity, each.shown) for each in statements_in(lines)]
        [('parameters', '7,624'), ('test accuracy', '99.46')]
    """
    header: list[str] = []
    file = ""
    for line in lines:
        text = line.text
        if line.file != file or not text.startswith("|"):
            header, file = [], line.file
        if text.startswith("|") and text.count("|") > 2:
            cells = [cell.strip(" *_`") for cell in text.strip("|").split("|")]
            if not header:
                header = cells
            elif len(cells) == len(header):
                yield from _of_row(header, cells, line)
            continue
        yield from _of_text(line)


def _of_row(header: Sequence[str], cells: Sequence[str], line: Line) -> Iterator[Statement]:
    for name, cell in zip(header, cells, strict=True):
        title = name.casefold()
        if "param" in title and (match := re.fullmatch(_NUMBER, cell)):
            yield from _count(match, line)
        elif "acc" in title and "test" in title and (match := re.fullmatch(_PERCENT, cell)):
            yield from _share(match, line)
        elif "receptive" in title and cell.isdecimal():
            yield Statement(quantity="receptive field", value=int(cell), shown=cell, line=line)


def _of_text(line: Line) -> Iterator[Statement]:
    text = line.text
    program = line.kind == "output"
    aim = not program and _AIM.search(text)
    if not aim and not _SIZES.search(text):
        yield from _first(_PARAMETERS, text, lambda match: _count(match, line))
    if program:
        # Epochs of a log are a course of training, see `curves`; a single line is no result.
        yield from _field(line, last=True)
        return
    if not aim and "train acc" not in text.casefold():
        yield from _first(_ACCURACY, text, lambda match: _share(match, line))
    if not aim:
        yield from _field(line, last=False)
        yield from _first(_EPOCHS, text, lambda match: _whole("epochs", match, line))
        yield from _first(_BATCH, text, lambda match: _whole("batch size", match, line))


def _first(patterns: Sequence[re.Pattern[str]], text: str, make: _Make) -> Iterator[Statement]:
    """Yield the statements of the first pattern that is in a text."""
    for pattern in patterns:
        if match := pattern.search(text):
            yield from make(match)
            return


def _field(line: Line, *, last: bool) -> Iterator[Statement]:
    """Yield a receptive field; of a program only the final one, since tables have one for each layer."""
    for pattern in _FIELD:
        if match := pattern.search(line.text):
            words = match[0].casefold()
            if not last or any(word in words for word in ("final", "total", "overall")):
                yield from _whole("receptive field", match, line)
            return


def _whole(quantity: Quantity, match: "re.Match[str]", line: Line) -> Iterator[Statement]:
    value = int(match["number"])
    if value:
        yield Statement(quantity=quantity, value=value, shown=match["number"], line=line)


def _count(match: "re.Match[str]", line: Line) -> Iterator[Statement]:
    digits = match["number"].replace(",", "")
    unit = (match["unit"] or "").lower()
    if not unit and ("." in digits or int(digits) < 100):
        return
    value = float(digits) * {"": 1, "k": 1_000, "m": 1_000_000}[unit]
    if not 0 < value < _MOST:
        return
    significant = len(digits.replace(".", "").lstrip("0")) if unit else None
    shown = f"{match['number']}{match['unit'] or ''}"
    yield Statement(quantity="parameters", value=value, digits=significant, shown=shown, line=line)


def _share(match: "re.Match[str]", line: Line) -> Iterator[Statement]:
    number = match["number"]
    value = float(number)
    decimals = len(number.partition(".")[2])
    if value <= 1 and decimals >= 2:
        # 0.9946 is a share.
        value, decimals = value * 100, decimals - 2
    if not 20 <= value <= 100:
        return
    yield Statement(quantity="test accuracy", value=value / 100, digits=decimals, shown=number, line=line)
