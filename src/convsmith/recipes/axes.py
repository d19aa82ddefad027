"""The axes of a grid: fields of a recipe with several values each."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from convsmith.errors import UsageError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_MOST_VALUES = 100_000


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A field with the texts of its values, as on the command line.

    Example:
        >>> Axis.parse("seed=0..2").values
        ('0', '1', '2')
        >>> Axis.parse("train.optimizer.lr=0.01,0.1").values
        ('0.01', '0.1')
    """

    field: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Return an axis; a field with one value is an axis too.

        Values are separated by commas that are in no brackets or quotes; `A..B` stands for all whole numbers
        from A to B.

        Raises:
            UsageError: There is no field or no value, or a value is there twice.
        """
        field, equals, rest = (each.strip() for each in text.partition("="))
        values = tuple(value for part in _split(rest) for value in _numbers(part.strip(), text))
        if not field or not equals or not all(values):
            raise UsageError(
                f"found {text!r}, expected FIELD=VALUE,VALUE,...",
                where="grid",
                fix="write seed=0..4, or train.optimizer.lr=0.01,0.03",
            )
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UsageError(f"the value {twice} is there twice", where=field, fix="name each value once")
        return cls(field=field, values=values)

    def __str__(self) -> str:
        return f"{self.field}={','.join(self.values)}"


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes of a grid.

    Raises:
        UsageError: A field is there twice, or as in `Axis.parse`.
    """
    axes = tuple(map(Axis.parse, texts))
    fields = [axis.field for axis in axes]
    for field in fields:
        if fields.count(field) > 1:
            raise UsageError(
                f"the field {field} is there twice", where="grid", fix=f"write all values in one: {field}=1,2"
            )
    return axes


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Yield the fields of each run with their values; the last axis changes fastest.

    Example:
        >>> list(combinations(parse_axes(["seed=0..1", "train.epochs=5"])))
        [{'seed': '0', 'train.epochs': '5'}, {'seed': '1', 'train.epochs': '5'}]
    """
    for values in product(*(axis.values for axis in axes)):
        yield {axis.field: value for axis, value in zip(axes, values, strict=True)}


def count_combinations(axes: Sequence[Axis]) -> int:
    """Return the number of runs.

    >>> count_combinations(parse_axes(["seed=0..4", "train.epochs=5,10"]))
    10
    """
    return math.prod(len(axis.values) for axis in axes)


def _numbers(value: str, text: str) -> list[str]:
    """Return a value, or the numbers of a range."""
    match = _RANGE.fullmatch(value)
    if match is None:
        return [value]
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST_VALUES:
        raise UsageError(
            f"found the range {value}, expected up to {_MOST_VALUES:,} numbers, the smallest first",
            where=text,
            fix="write seed=0..4",
        )
    return [str(number) for number in range(first, last + 1)]


def _split(text: str) -> list[str]:
    """Split at commas that are in no brackets or quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for index, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == "," and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
