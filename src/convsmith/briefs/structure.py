"""What kinds of layer a net is made of, and its blocks: read off its rows, for notation and modules alike."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from convsmith.net.analysis import Row

LayerKind = Literal[
    "depthwise-separable",
    "dilated",
    "strided",
    "transposed",
    "residual",
    "concatenation",
    "max-pooling",
    "average-pooling",
    "global-average-pooling",
    "fully-connected",
]

_CONVOLUTION = re.compile(r"Conv(Transpose)?[123]d")
_AVERAGE_POOL = re.compile(r"(Adaptive)?AvgPool[123]d")
_MAX_POOL = re.compile(r"(Adaptive)?MaxPool[123]d|amax")


@dataclass(frozen=True)
class Block:
    """A part of the net with convolutions; a separable convolution counts once, with both its rows."""

    name: str
    convolutions: tuple[tuple[Row, ...], ...]

    @property
    def shrinks_at_its_end(self) -> bool:
        """Whether its last convolution has a stride or a dilation."""
        return any(max(row.stride) > 1 or max(row.dilation) > 1 for row in self.convolutions[-1])


def count_kind(rows: Sequence[Row], kind: LayerKind) -> int:
    """How many layers of a net are of a kind.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> count_kind(analyze(plan(parse("C8 S8*2 / G F10"), (3, 8, 8))).rows, "depthwise-separable")
        2
    """
    if kind == "depthwise-separable":
        return len(separable_pairs(rows))
    return sum(map(_TESTS[kind], rows))


def separable_pairs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Depthwise convolutions whose output a pointwise one takes, by row numbers.

    A norm and an activation may lie between the two.
    """
    pairs = []
    for index, row in enumerate(rows):
        if is_convolution(row) and row.groups == 1 and set(row.kernel) == {1}:
            source = index
            while len(rows[source].sources) == 1:
                (source,) = rows[source].sources
                if source < 0 or not rows[source].elementwise:
                    break
            if source != index and source >= 0 and is_depthwise(rows[source]):
                pairs.append((source, index))
    return pairs


def blocks(rows: Sequence[Row]) -> list[Block]:
    """The parts of the net that have convolutions, up to its head, a global pool or fully connected layer."""
    end = next((index for index, row in enumerate(rows) if _is_head(row)), len(rows))
    second = {point: depth for depth, point in separable_pairs(rows) if rows[point].sources == (depth,)}
    units: list[tuple[Row, ...]] = []
    for index, row in enumerate(rows[:end]):
        if is_convolution(row):
            if index in second:
                units[-1] = (*units[-1], row)
            else:
                units.append((row,))
    grouped = groupby(units, key=lambda unit: unit[0].block)
    return [Block(name, tuple(members)) for name, members in grouped]


def is_convolution(row: Row) -> bool:
    return _CONVOLUTION.fullmatch(row.operation) is not None


def is_depthwise(row: Row) -> bool:
    return is_convolution(row) and row.groups == row.width[0] > 1


def _is_global(row: Row) -> bool:
    """Whether a pool leaves one value a channel."""
    averages = row.operation in {"GlobalAvgPool2d", "mean"} or _AVERAGE_POOL.fullmatch(row.operation)
    return bool(averages) and set(row.out_shape[1:]) <= {1} and max(row.in_shape[1:], default=1) > 1


def _is_head(row: Row) -> bool:
    return _is_global(row) or row.operation in {"Linear", "Flatten"}


def _joins(row: Row, operation: str) -> bool:
    return row.operation == operation and len(row.sources) > 1


_TESTS: dict[LayerKind, Callable[[Row], bool]] = {
    "dilated": lambda row: is_convolution(row) and max(row.dilation) > 1 and max(row.kernel) > 1,
    "strided": lambda row: (
        row.operation.startswith("Conv") and "Trans" not in row.operation and max(row.stride) > 1
    ),
    "transposed": lambda row: row.operation.startswith("ConvTranspose"),
    "residual": lambda row: _joins(row, "Add"),
    "concatenation": lambda row: _joins(row, "Concat"),
    "max-pooling": lambda row: _MAX_POOL.fullmatch(row.operation) is not None,
    "average-pooling": lambda row: _AVERAGE_POOL.fullmatch(row.operation) is not None and not _is_global(row),
    "global-average-pooling": _is_global,
    "fully-connected": lambda row: row.operation == "Linear",
}
