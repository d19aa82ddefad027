"""The outline of a net: rows grouped by the first parts of their paths, equal neighbours in one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from convsmith.net.cells import field_cell, macs_cell, share_cell
from convsmith.net.rows import Row

HEADER = ("layer", "operation", "times", "output", "receptive field", "parameters", "share", "MACs")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Neighbouring rows of one part of a net, and its equal neighbours.

    Attributes:
        name: The path of the part; of a row, its own.
        last_name: That of the last of its equal neighbours.
        rows: The rows of all of them, in their order.
        times: How many equal parts there are.
    """

    name: str
    last_name: str
    rows: tuple[Row, ...]
    times: int = 1

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int | None:
        """None if those of one row are unknown."""
        known = [row.macs for row in self.rows if row.macs is not None]
        return sum(known) if len(known) == len(self.rows) else None

    @property
    def signature(self) -> tuple[object, ...]:
        """What equal parts have in common: all but their numbers, inputs and receptive fields."""
        return tuple(
            (
                re.sub(r"\d+", "#", row.name), row.operation, row.in_shape, row.out_shape, row.kernel,
                row.stride, row.dilation, row.padding, row.groups, row.bias, row.parameters, row.macs,
            )
            for row in self.rows
        )  # fmt: skip

    def followed_by(self, other: "Group") -> "Group":
        rows = (*self.rows, *other.rows)
        return replace(self, last_name=other.last_name, rows=rows, times=self.times + other.times)


def outline(rows: Sequence[Row], depth: int | None = None) -> list[Group]:
    """Group rows by the first parts of their paths, and fold equal neighbours.

    Args:
        rows: The rows of an analysis.
        depth: Parts of a path; None for one group for each row.
    """
    numbered = [(_prefix(row.name, depth) if depth else str(index), row) for index, row in enumerate(rows)]
    groups = []
    for prefix, pairs in groupby(numbered, key=lambda pair: pair[0]):
        members = tuple(row for _, row in pairs)
        name = prefix if depth else members[0].name or members[0].operation
        groups.append(Group(name=name, last_name=name, rows=members))
    return fold(groups)


def _prefix(path: str, depth: int) -> str:
    return ".".join(path.split(".")[:depth])


def fold(groups: Sequence[Group]) -> list[Group]:
    """Join repetitions of one or of several neighbouring groups.

    Several groups are joined from the first one of their part of the net on. Where several periods are
    possible, the one that saves most lines is taken.
    """
    signatures = [group.signature for group in groups]
    parents = [group.name.rpartition(".")[0] for group in groups]
    folded: list[Group] = []
    start = 0
    while start < len(groups):
        is_first = start == 0 or parents[start] != parents[start - 1]
        period, times = _repetition(signatures[start:], longest=None if is_first else 1)
        block = list(groups[start : start + period])
        for again in range(1, times):
            for index in range(period):
                block[index] = block[index].followed_by(groups[start + again * period + index])
        folded += block
        start += period * times
    return folded


def _repetition(signatures: Sequence[object], longest: int | None) -> tuple[int, int]:
    """Return the period and the number of its repetitions that save most lines; (1, 1) if there are none."""
    best, saved = (1, 1), 0
    for period in range(1, min(len(signatures) // 2, longest or len(signatures)) + 1):
        block = signatures[:period]
        times = 1
        while signatures[times * period : (times + 1) * period] == block:
            times += 1
        if period * (times - 1) > saved:
            best, saved = (period, times), period * (times - 1)
    return best


def outline_cells(rows: Sequence[Row], total: int, depth: int | None = None) -> list[list[str]]:
    """Return the header and the lines of the outline.

    Parameters and MACs are those of all equal parts; the receptive field is that after the last one.

    Args:
        rows: The rows of an analysis.
        total: The parameters of the net.
        depth: Parts of a path; None for one line for each row.
    """
    return [list(HEADER), *(_cells(group, total) for group in outline(rows, depth))]


def _cells(group: Group, total: int) -> list[str]:
    last = group.rows[-1]
    operations = len(group.rows) // group.times
    return [
        group.name if group.times == 1 else f"{group.name} to {group.last_name}",
        last.operation if operations == 1 else f"{operations} operations",
        f"x{group.times}" if group.times > 1 else "",
        "x".join(map(str, last.out_shape)),
        field_cell(last.out_field, lambda axis: axis.size),
        f"{group.parameters:,}" if group.parameters else "",
        share_cell(group.parameters, total),
        macs_cell(group.macs),
    ]
