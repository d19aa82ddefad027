"""Cells of tables with one line for each row of an analysis, and the compact table."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from convsmith.net.rows import AxisReceptiveField, ReceptiveField, Row
from convsmith.text import percent, plural


def axes_text(values: Sequence[object]) -> str:
    """Return one value if it is the same for all axes, else `height x width`.

    >>> axes_text((3, 3)), axes_text((3, 5)), axes_text(())
    ('3', '3x5', '')
    """
    texts = [f"{float(value):g}" if isinstance(value, Fraction) else str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


def field_cell(field: ReceptiveField, pick: Callable[[AxisReceptiveField], object]) -> str:
    if field.axes:
        return axes_text([pick(axis) if axis.size else "all" for axis in field.axes])
    if field.constant:
        return "none"
    return "?" if field.unknown else "all"


def size_cell(field: ReceptiveField) -> str:
    """The receptive field; after a join, that of the narrowest path in parentheses."""
    size, smallest = (
        field_cell(field, pick) for pick in (lambda axis: axis.size, lambda axis: axis.min_size)
    )
    return size if size == smallest else f"{size} ({smallest})"


def macs_cell(macs: int | None) -> str:
    if macs is None:
        return "?"
    return f"{macs:,}" if macs else ""


def share_cell(count: int, total: int) -> str:
    """The share of the parameters of a net.

    >>> share_cell(1, 3), share_cell(1, 100_000), share_cell(0, 3)
    ('33.3 %', '<0.1 %', '')
    """
    if not count:
        return ""
    return percent(count / total, 1) if count / total >= 0.0005 else "<0.1 %"


def note_lines(rows: Sequence[Row]) -> list[str]:
    return [f"{row.name or row.operation}: {note}" for row in rows for note in row.notes]


def macs_text(macs: int, num_unknown: int) -> str:
    """Return the multiply-accumulates of a net, some of whose operations may be unknown."""
    text = f"{macs / 1e6:,.1f} M" if macs >= 100_000 else f"{macs:,}"
    return f"at least {text} ({plural(num_unknown, 'operation')} unknown)" if num_unknown else text


def receptive_field_text(field: ReceptiveField) -> str:
    """Return the receptive field with its unit, or the reason why it is unknown."""
    if field.unknown:
        return f"unknown: {field.unknown}"
    if not field.sizes:
        return "none, the input has no rows and columns"
    text = axes_text(field.sizes)
    return f"{text} pixel{'' if text == '1' else 's'}"


def compact_cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the header and the lines of the compact table, which omits elementwise operations.

    The parameters of the norm and the activation after an operation are included in its line.
    """
    lines: list[tuple[Row, int]] = []
    for row in rows:
        if (
            row.elementwise
            and len(row.sources) == 1
            and lines
            and not (row.out_field.unknown or row.out_field.constant)
        ):
            lines[-1] = (lines[-1][0], lines[-1][1] + row.parameters)
        else:
            lines.append((row, row.parameters))
    table = [
        [*(value(row) for _, value in _COMPACT_COLUMNS), f"{count:,}" if count else ""]
        for row, count in lines
    ]
    return [[*(name for name, _ in _COMPACT_COLUMNS), "parameters"], *table]


_COMPACT_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("layer", lambda row: row.layer or row.name),
    ("operation", lambda row: row.operation),
    ("output", lambda row: "x".join(map(str, row.out_shape))),
    ("kernel", lambda row: axes_text(row.kernel)),
    ("stride", lambda row: axes_text(row.stride)),
    ("dilation", lambda row: axes_text(row.dilation)),
    ("padding", lambda row: axes_text(row.padding)),
    ("receptive field", lambda row: size_cell(row.out_field)),
    ("activations", lambda row: f"{row.activations:,}"),
    ("MACs", lambda row: macs_cell(row.macs)),
)
