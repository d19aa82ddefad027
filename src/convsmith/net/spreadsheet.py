"""An analysis as comma-separated values, one line for each row, for spreadsheets and data frames."""

from collections.abc import Callable, Sequence

from convsmith.net.analysis import Analysis
from convsmith.net.outline import outline
from convsmith.net.rows import ReceptiveField, Row
from convsmith.text import csv_row


def rows_csv(analysis: Analysis) -> str:
    """Return all rows; shapes are `3x32x32`, unknown numbers are empty, the full image is `all`.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> print(rows_csv(analyze_notation("C8 / G F10", (3, 8, 8))).splitlines()[1][:38])
        0,block1.conv1,Conv2d,C8,,3x8x8,8x8x8,
    """
    total = analysis.parameters
    table: list[list[object]] = [["row", *(name for name, _ in _COLUMNS), "share"]]
    for index, row in enumerate(analysis.rows):
        table.append([index, *(value(row) for _, value in _COLUMNS), _share(row.parameters, total)])
    return "".join(map(csv_row, table))


def outline_csv(analysis: Analysis, depth: int) -> str:
    """Return the outline of a depth, with plain numbers."""
    total = analysis.parameters
    table: list[list[object]] = [list(_OUTLINE)]
    table += [
        [
            group.name,
            group.last_name,
            group.times,
            len(group.rows),
            _sizes(group.rows[-1].out_shape),
            _field(group.rows[-1].out_field),
            group.parameters,
            _share(group.parameters, total),
            "" if group.macs is None else group.macs,
        ]
        for group in outline(analysis.rows, depth)
    ]
    return "".join(map(csv_row, table))


def _share(count: int, total: int) -> str:
    return f"{count / total if total else 0:.6f}"


def _sizes(values: Sequence[object]) -> str:
    return "x".join(map(str, values))


def _field(field: ReceptiveField) -> str:
    if field.axes:
        return _sizes(field.sizes)
    return "" if field.unknown else "all"


def _axes(row: Row, name: str) -> str:
    return _sizes([f"{float(getattr(axis, name)):g}" for axis in row.out_field.axes])


_OUTLINE = (
    "layer", "last", "times", "operations", "output", "receptive_field", "parameters", "share", "macs",
)  # fmt: skip
_COLUMNS: tuple[tuple[str, Callable[[Row], object]], ...] = (
    ("name", lambda row: row.name),
    ("operation", lambda row: row.operation),
    ("layer", lambda row: row.layer),
    ("sources", lambda row: " ".join(str(source) for source in row.sources if source >= 0)),
    ("input", lambda row: _sizes(row.in_shape)),
    ("output", lambda row: _sizes(row.out_shape)),
    ("kernel", lambda row: _sizes(row.kernel)),
    ("stride", lambda row: _sizes(row.stride)),
    ("dilation", lambda row: _sizes(row.dilation)),
    ("padding", lambda row: _sizes(row.padding)),
    ("groups", lambda row: row.groups),
    ("receptive_field", lambda row: _field(row.out_field)),
    ("jump", lambda row: _axes(row, "jump")),
    ("start", lambda row: _axes(row, "start")),
    ("centre", lambda row: _axes(row, "centre")),
    ("activations", lambda row: row.activations),
    ("macs", lambda row: "" if row.macs is None else row.macs),
    ("notes", lambda row: "; ".join(row.notes)),
    ("parameters", lambda row: row.parameters),
)
