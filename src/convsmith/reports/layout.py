"""Layout of a network diagram: which layers become boxes, and in which line, column and lane.

The longest path from the image to the output is the main lane. Other branches use lanes below it;
connections that skip layers are arcs above them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.briefs.structure import is_depthwise
from convsmith.net.analysis import Analysis
from convsmith.net.cells import axes_text
from convsmith.net.rows import IMAGE, ReceptiveField, Row, Shape

Kind = Literal[
    "image",
    "convolution",
    "depthwise",
    "pointwise",
    "transposed",
    "pooling",
    "join",
    "fully connected",
    "other",
]
# Maximum number of boxes side by side.
COLUMNS = 11


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box of the diagram: a layer with the norms, activations and dropouts that follow it.

    Attributes:
        kind: Determines the colour.
        text: Lines in the box: operation or kernel size, then stride, dilation and groups.
        sources: Indices of the boxes that provide its inputs.
        block: Name of the block that the layer belongs to.
    """

    kind: Kind
    text: tuple[str, ...]
    sources: tuple[int, ...]
    shape: Shape
    field: ReceptiveField
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Position of a box: `rank` counts the columns of all lines; lane 0 is the main lane."""

    rank: int
    line: int
    column: int
    lane: int


def boxes(analysis: Analysis) -> tuple[Box, ...]:
    """Return the boxes of a network, the image first.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> example = boxes(analyze(plan(parse("C8:s2 / G F10"), (3, 32, 32))))
        >>> [(box.kind, *box.text) for box in example[1:]]
        [('convolution', '3x3', 's2'), ('pooling', 'avg', 'all'), ('fully connected', 'FC')]
    """
    image = ReceptiveField.of_image(len(analysis.input_shape) - 1)
    result = [Box(kind="image", text=("image",), sources=(), shape=analysis.input_shape, field=image)]
    box_of = {IMAGE: 0}
    for index, row in enumerate(analysis.rows):
        sources = tuple(dict.fromkeys(box_of[source] for source in row.sources))
        if len(sources) == 1 and _is_merged_into_source(row):
            box_of[index] = sources[0]
            continue
        box_of[index] = len(result)
        kind = _kind(row)
        result.append(
            Box(
                kind=kind,
                text=_text(row, kind),
                sources=sources,
                shape=row.out_shape,
                field=row.out_field,
                block=row.block,
            )
        )
    return tuple(result)


def _is_merged_into_source(row: Row) -> bool:
    # Group and instance norm are not elementwise, but are drawn like batch norm.
    is_norm = row.operation in {"Flatten", "flatten"} or "norm" in row.operation.lower()
    return is_norm or (row.elementwise and not row.kernel and len(row.sources) == 1)


def _kind(row: Row) -> Kind:
    operation = row.operation.lower()
    if "transpose" in operation:
        return "transposed"
    if "conv" in operation:
        if is_depthwise(row):
            return "depthwise"
        return "pointwise" if set(row.kernel) == {1} else "convolution"
    if row.width != (0, 0):
        return "fully connected"
    if "pool" in operation or operation == "mean":
        return "pooling"
    return "join" if len(row.sources) > 1 else "other"


def _text(row: Row, kind: Kind) -> tuple[str, ...]:
    window = "x".join(map(str, row.kernel))
    if kind == "pooling":
        return (
            "max" if "Max" in row.operation else "avg",
            window or "all",
            *_options(row, default=row.kernel),
        )
    if kind == "join":
        return ({"Add": "+", "Concat": "cat"}.get(row.operation, row.operation),)
    if kind == "fully connected":
        return ("FC",)
    return (window or _short(row.operation), *_options(row, default=(1,) * len(row.kernel)))


def _short(operation: str) -> str:
    # What fits into a box in small letters.
    return operation if len(operation) <= 11 else f"{operation[:10]}…"


def _options(row: Row, *, default: tuple[int, ...]) -> tuple[str, ...]:
    """Return stride, dilation and groups where they differ from the default."""
    stride = f"s{axes_text(row.stride)}" if row.stride != default else ""
    dilation = f"d{axes_text(row.dilation)}" if any(each > 1 for each in row.dilation) else ""
    groups = f"g{row.groups}" if row.groups > 1 and not is_depthwise(row) else ""
    return tuple(text for text in (stride, dilation, groups) if text)


def arrange(boxes: Sequence[Box], columns: int = COLUMNS) -> tuple[Place, ...]:
    """Assign a place to each box; the boxes are in the order of execution.

    Example:
        >>> def box(*sources):
        ...     return Box(kind="other", text=("",), sources=sources, shape=(1,), field=ReceptiveField())
        >>> branch = arrange([box(), box(0), box(1), box(0), box(2, 3)])
        >>> [(place.rank, place.lane) for place in branch]
        [(0, 0), (1, 0), (2, 0), (1, 1), (3, 0)]
    """
    ranks: list[int] = []
    for box in boxes:
        ranks.append(1 + max((ranks[source] for source in box.sources), default=-1))
    lanes = _lanes(boxes, ranks)
    starts = _line_starts(boxes, ranks, columns)
    places = []
    for rank, lane in zip(ranks, lanes, strict=True):
        line = sum(start <= rank for start in starts) - 1
        places.append(Place(rank=rank, line=line, column=rank - starts[line], lane=lane))
    return tuple(places)


def _lanes(boxes: Sequence[Box], ranks: Sequence[int]) -> list[int]:
    """Put the longest path into lane 0, then each other branch, longest first, into the first free lane."""
    lanes: dict[int, int] = {}
    taken: list[list[tuple[int, int]]] = []
    targets = {source: index for index, box in enumerate(boxes) for source in box.sources}
    while len(lanes) < len(boxes):
        last = max((index for index in range(len(boxes)) if index not in lanes), key=lambda i: (ranks[i], i))
        if not lanes:
            last = len(boxes) - 1
        chain = [last]
        while free := [source for source in boxes[chain[-1]].sources if source not in lanes]:
            chain.append(max(free, key=lambda i: ranks[i]))
        first = ranks[chain[-1]]
        end = max(ranks[last], ranks[targets[last]] - 1) if last in targets else ranks[last]
        lane = 0
        while lane < len(taken) and any(first <= b and end >= a for a, b in taken[lane]):
            lane += 1
        if lane == len(taken):
            taken.append([])
        taken[lane].append((first, end))
        lanes |= dict.fromkeys(chain, lane)
    return [lanes[index] for index in range(len(boxes))]


def _line_starts(boxes: Sequence[Box], ranks: Sequence[int], columns: int) -> list[int]:
    """Return the first rank of each line; lines break where few connections cross, at similar lengths."""
    count = max(ranks) + 1
    edges = [(source, index) for index, box in enumerate(boxes) for source in box.sources]
    starts = [0]
    while count - starts[-1] > columns:
        rest = count - starts[-1]
        ideal = starts[-1] + -(-rest // -(-rest // columns))
        options = range(starts[-1] + columns // 2 + 1, starts[-1] + columns + 1)

        def cost(start: int, ideal: int = ideal) -> int:
            crossing = {source for source, index in edges if ranks[source] < start <= ranks[index]}
            return 2 * len(crossing) + abs(start - ideal)

        starts.append(min(options, key=cost))
    return starts
