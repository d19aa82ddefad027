"""The skeleton of a net: its convolutions, pools and fully connected layers in the order of computation."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.briefs.check import row_label
from convsmith.briefs.structure import LAYER_KINDS, LayerKind, is_active, separable_pairs
from convsmith.net.analysis import Analysis
from convsmith.net.rows import IMAGE, Row

Part = Literal["C", "1x1", "P", "A", "G", "F"]

PART_NAMES: dict[Part, str] = {
    "C": "a convolution larger than 1x1",
    "1x1": "a 1x1 convolution",
    "P": "max-pooling",
    "A": "average pooling",
    "G": "global average pooling",
    "F": "a fully connected layer",
}
# The forms in which assignments write a skeleton: `C1 C2 c3 P1 ... GAP c11`, numbers left out or not.
_FORMS: tuple[tuple[re.Pattern[str], Part], ...] = (
    (re.compile(r"C\d*"), "C"),
    (re.compile(r"c\d*|1x1"), "1x1"),
    (re.compile(r"[PM]\d*"), "P"),
    (re.compile(r"A\d*"), "A"),
    (re.compile(r"G|GAP"), "G"),
    (re.compile(r"F\d*|FC\d*"), "F"),
)
# The kind of layer that a part is.
PART_KINDS: dict[Part, LayerKind] = {
    "C": "convolution",
    "1x1": "pointwise",
    "P": "max-pooling",
    "A": "average-pooling",
    "G": "global-average-pooling",
    "F": "fully-connected",
}


@dataclass(frozen=True)
class Place:
    """A layer of the skeleton of a net.

    Attributes:
        after_pool: Whether it follows global average pooling, so that its map is 1x1.
    """

    part: Part
    row: Row
    after_pool: bool = False


@dataclass(frozen=True, kw_only=True)
class Departure:
    """The first place where a net departs from a skeleton.

    Attributes:
        number: Of the place, from 1.
        expected: What the skeleton has there; None if it ends before.
        place: What the net has there; None if it ends before.
    """

    number: int
    expected: Part | None
    place: Place | None


def parse_skeleton(text: str) -> tuple[Part, ...]:
    """Return the layers of a skeleton: C, 1x1 (or c), P, A, G (or GAP) and F, numbered or not.

    Raises:
        ValueError: A part is unknown, or there is none.

    Example:
        >>> parse_skeleton("C1 C2 c3 P1 C4 GAP c5")
        ('C', 'C', '1x1', 'P', 'C', 'G', '1x1')
    """
    parts: list[Part] = []
    for word in re.sub(r"[,/]|->", " ", text).split():
        part = next((part for form, part in _FORMS if form.fullmatch(word)), None)
        if part is None:
            names = ", ".join(f"{part} ({name})" for part, name in PART_NAMES.items())
            raise ValueError(f"unknown part {word!r} of a skeleton; write {names}")
        parts.append(part)
    if not parts:
        raise ValueError('an empty skeleton; write one as "C C 1x1 P C G 1x1"')
    return tuple(parts)


def readings(analysis: Analysis) -> tuple[tuple[Place, ...], ...]:
    """Return the skeleton of a net along its longest path, so that shortcuts are left out.

    A depthwise convolution and the 1x1 convolution after it are one convolution in the first reading, two in
    the second one.
    """
    parts = _parts(analysis.rows)
    path = _longest_path(analysis, parts)
    points = {point for _, point in separable_pairs(analysis.rows)}
    apart = _places(analysis, parts, path)
    together = _places(analysis, parts, [index for index in path if index not in points])
    return (together,) if together == apart else (together, apart)


def departure(analysis: Analysis, skeleton: Sequence[Part]) -> Departure | None:
    """Return the first place where a net departs from a skeleton, of the reading that goes furthest.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> first = departure(analyze_notation("C8 M2 C8 / G F10", (3, 8, 8)), ("C", "1x1", "P", "G", "F"))
        >>> first.number, first.expected, first.place.part
        (2, '1x1', 'P')
    """
    return _departure(reading_of(analysis, skeleton), skeleton)


def reading_of(analysis: Analysis, skeleton: Sequence[Part]) -> tuple[Place, ...]:
    """Return the reading of a net that goes furthest along a skeleton."""

    def length(places: tuple[Place, ...]) -> float:
        first = _departure(places, skeleton)
        return first.number if first else float("inf")

    return max(readings(analysis), key=length)


def distance(analysis: Analysis, skeleton: Sequence[Part]) -> int:
    """Return how many layers must be inserted, removed or replaced to get from a net to a skeleton."""
    return min(_distance(places, skeleton) for places in readings(analysis))


def nearest_edit(analysis: Analysis, skeleton: Sequence[Part], first: Departure) -> str:
    """Return in words what to change at the first departure."""
    if first.place is None:
        return f"add {PART_NAMES[first.expected]} at the end" if first.expected else ""
    name = row_label(first.place.row)
    if first.expected is None:
        return f"remove {name}"
    places = reading_of(analysis, skeleton)
    at, expected = first.number - 1, PART_NAMES[first.expected]
    left, right = places[at:], skeleton[at:]
    ways = {
        f"replace {name} by {expected}": _distance(left[1:], right[1:]),
        f"insert {expected} before {name}": _distance(left, right[1:]),
        f"remove {name}": _distance(left[1:], right),
    }
    return min(ways, key=lambda way: ways[way])


def _parts(rows: Sequence[Row]) -> dict[int, Part]:
    """Return the parts of the rows that have one and an effect, by row number."""
    numbers = {id(row): index for index, row in enumerate(rows)}
    parts: dict[int, Part] = {}
    for part, kind in PART_KINDS.items():
        rule = LAYER_KINDS[kind]
        for row in rule.find(rows):
            if is_active(row) and rule.acts(row):
                single = part == "C" and set(row.kernel) == {1}
                parts[numbers[id(row)]] = "1x1" if single else part
    return parts


def _longest_path(analysis: Analysis, parts: dict[int, Part]) -> list[int]:
    """Return the rows with a part on the path from the image to an output that has the most of them."""
    lengths: dict[int, int] = {IMAGE: 0}
    before: dict[int, int] = {}
    for index, row in enumerate(analysis.rows):
        before[index] = max(row.sources, key=lambda source: lengths.get(source, 0), default=IMAGE)
        lengths[index] = lengths.get(before[index], 0) + (index in parts)
    outputs = analysis.outputs or (len(analysis.rows) - 1,)
    index, path = max(outputs, key=lambda output: lengths[output]), []
    while index != IMAGE:
        if index in parts:
            path.append(index)
        index = before[index]
    return path[::-1]


def _places(analysis: Analysis, parts: dict[int, Part], path: Sequence[int]) -> tuple[Place, ...]:
    pool = [parts[index] for index in path].index("G") if "G" in map(parts.get, path) else len(path)
    return tuple(
        Place(parts[index], analysis.rows[index], after_pool=at > pool) for at, index in enumerate(path)
    )


def _departure(places: Sequence[Place], skeleton: Sequence[Part]) -> Departure | None:
    for at in range(max(len(places), len(skeleton))):
        expected = skeleton[at] if at < len(skeleton) else None
        place = places[at] if at < len(places) else None
        if expected is None or place is None or not _is(place, expected):
            return Departure(number=at + 1, expected=expected, place=place)
    return None


def _is(place: Place, expected: Part) -> bool:
    """Whether a layer is what is expected: on a map of 1x1, a fully connected layer is a 1x1 convolution."""
    return place.part == expected or (place.after_pool and {place.part, expected} == {"F", "1x1"})


def _distance(places: Sequence[Place], skeleton: Sequence[Part]) -> int:
    """Levenshtein's distance."""
    line = list(range(len(skeleton) + 1))
    for count, place in enumerate(places, start=1):
        line = list(_next_line(line, count, place, skeleton))
    return line[-1]


def _next_line(line: Sequence[int], count: int, place: Place, skeleton: Sequence[Part]) -> Iterator[int]:
    left = count
    yield left
    for at, expected in enumerate(skeleton):
        left = min(left + 1, line[at + 1] + 1, line[at] + (not _is(place, expected)))
        yield left
