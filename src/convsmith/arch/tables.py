"""The numbers of a net as text: the course's summary, the receptive-field table, a compact table."""

from collections.abc import Callable
from math import prod

from convsmith.arch.analyze import BYTES_PER_VALUE, Analysis, OpFacts

_RULE = "-" * 64
_MIB = 1024**2


def summary_rows(analysis: Analysis, *, weights_only: bool = False) -> tuple[OpFacts, ...]:
    """The rows that a summary shows: flattening moves no data and is left out."""
    return tuple(
        row for row in analysis.rows if row.op.operation != "Flatten" and (row.parameters or not weights_only)
    )


def course_summary(analysis: Analysis, *, weights_only: bool = False) -> str:
    """The summary in the form that course hand-ins use, made famous by torchsummary.

    Args:
        analysis: The numbers of a net.
        weights_only: Show just the operations that have parameters, as where activations and pools are
            called as functions. The memory lines count the rows that are shown.
    """
    rows = summary_rows(analysis, weights_only=weights_only)
    lines = [_RULE, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", "=" * 64]
    for number, row in enumerate(rows, start=1):
        # The table names the operation; a global pool is an average pool over the whole map.
        operation = row.op.operation.replace("GlobalAvgPool2d", "AvgPool2d")
        shape = str([-1, *row.op.out_shape])
        lines.append(f"{f'{operation}-{number}':>20}  {shape:>25} {row.parameters:>15,}")
    input_mib = analysis.input_bytes / _MIB
    # Twice: each output is kept for the backward pass, which makes a gradient of the same size.
    passes_mib = 2 * BYTES_PER_VALUE * sum(prod(row.op.out_shape) for row in rows) / _MIB
    parameters_mib = analysis.parameter_bytes / _MIB
    return "\n".join(
        [
            *lines,
            "=" * 64,
            f"Total params: {analysis.parameters:,}",
            f"Trainable params: {analysis.parameters:,}",
            "Non-trainable params: 0",
            _RULE,
            f"Input size (MB): {input_mib:.2f}",
            f"Forward/backward pass size (MB): {passes_mib:.2f}",
            f"Params size (MB): {parameters_mib:.2f}",
            f"Estimated Total Size (MB): {input_mib + passes_mib + parameters_mib:.2f}",
            _RULE,
        ]
    )


def receptive_field_rows(analysis: Analysis) -> tuple[OpFacts, ...]:
    """The rows in which a window moves over a map: convolutions and pools before the global one."""
    return tuple(
        row
        for row in analysis.rows
        if row.op.operation in {"Conv2d", "MaxPool2d", "AvgPool2d", "PixelUnshuffle"}
        and row.after.receptive_field is not None
    )


_COLUMNS: tuple[tuple[str, Callable[[OpFacts], object]], ...] = (
    ("layer", lambda row: row.op.layer),
    ("operation", lambda row: row.op.operation),
    ("r in", lambda row: row.before.receptive_field),
    ("n in", lambda row: size_text(row.op.in_shape)),
    ("j in", lambda row: row.before.jump),
    ("stride", lambda row: row.op.stride),
    ("padding", lambda row: row.op.padding),
    ("kernel", lambda row: row.op.kernel),
    ("dilation", lambda row: row.op.dilation),
    ("r out", lambda row: row.after.receptive_field),
    ("n out", lambda row: size_text(row.op.out_shape)),
    ("j out", lambda row: row.after.jump),
)


def receptive_field_table(analysis: Analysis) -> str:
    """The receptive field layer by layer, as a Markdown table.

    r: receptive field in pixels; n: size of the map; j: jump, the distance in pixels between neighbours.
    """
    rows = [[str(value(row)) for _, value in _COLUMNS] for row in receptive_field_rows(analysis)]
    return markdown_table([name for name, _ in _COLUMNS], rows)


def totals_line(analysis: Analysis) -> str:
    macs = f"{analysis.macs / 1e6:,.1f} M" if analysis.macs >= 100_000 else f"{analysis.macs:,}"
    return (
        f"{analysis.parameters:,} parameters, {macs} MACs an image, "
        f"receptive field {analysis.receptive_field} pixels"
    )


def size_text(shape: tuple[int, ...]) -> str:
    """A map's size: one number where it is square, `height x width` otherwise."""
    height, width = shape[1:]
    return str(height) if height == width else f"{height}x{width}"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns, first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width) if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])
