"""An analysis as text: the course summary, the receptive-field table, a compact table, and totals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

from convsmith.net.analysis import BYTES_PER_VALUE, Analysis
from convsmith.net.cells import (
    axes_text,
    compact_cells,
    field_cell,
    macs_text,
    note_lines,
    size_cell,
)
from convsmith.net.outline import outline_cells
from convsmith.net.remarks import axis_names, lines_text
from convsmith.net.rows import HiddenTensor, IdleLayer, Location, ReceptiveField, Row
from convsmith.text import markdown_table, size_text

_RULE = "-" * 64
_MIB = 1024**2


def summary_rows(analysis: Analysis, *, weights_only: bool = False) -> tuple[Row, ...]:
    """Return the rows of a summary: all but flattening, which moves no data."""
    return tuple(
        row for row in analysis.rows if row.operation != "Flatten" and (row.parameters or not weights_only)
    )


def course_summary(analysis: Analysis, *, weights_only: bool = False) -> str:
    """Return the summary in the form of course hand-ins, that of torchsummary.

    Args:
        analysis: The analysis of a net.
        weights_only: Include only operations with parameters, as torchsummary does if activations and pools
            are called as functions. The memory lines count the included rows.
    """
    rows = summary_rows(analysis, weights_only=weights_only)
    lines = [_RULE, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", "=" * 64]
    for number, row in enumerate(rows, start=1):
        # torchsummary has no global pool: it is an average pool over the full map.
        operation = row.operation.replace("GlobalAvgPool2d", "AvgPool2d")
        shape = str([-1, *row.out_shape])
        lines.append(f"{f'{operation}-{number}':>20}  {shape:>25} {row.parameters:>15,}")
    input_mib = analysis.input_bytes / _MIB
    # Twice: each output is kept for the backward pass, whose gradient has the same size.
    passes_mib = 2 * BYTES_PER_VALUE * sum(row.activations for row in rows) / _MIB
    parameters_mib = analysis.parameter_bytes / _MIB
    return "\n".join(
        [
            *lines,
            "=" * 64,
            f"Total params: {analysis.parameters:,}",
            f"Trainable params: {analysis.trainable:,}",
            f"Non-trainable params: {analysis.parameters - analysis.trainable:,}",
            _RULE,
            f"Input size (MB): {input_mib:.2f}",
            f"Forward/backward pass size (MB): {passes_mib:.2f}",
            f"Params size (MB): {parameters_mib:.2f}",
            f"Estimated Total Size (MB): {input_mib + passes_mib + parameters_mib:.2f}",
            _RULE,
        ]
    )


def receptive_field_rows(analysis: Analysis) -> tuple[Row, ...]:
    """Return the rows with a window, and those that join branches, before global pooling."""
    return tuple(
        row
        for row in analysis.rows
        if (row.kernel or len(row.sources) > 1) and (row.out_field.axes or row.out_field.unknown)
    )


def receptive_field_table(analysis: Analysis) -> str:
    """Return the receptive field layer by layer as a Markdown table.

    r: receptive field in pixels; n: size of the map; j: jump, the distance in pixels between neighbours;
    start and centre: first pixel and centre of the receptive field of the first output.
    """
    rows = receptive_field_rows(analysis)
    table = [[value(row) for _, value in _FIELD_COLUMNS] for row in rows]
    text = markdown_table([name for name, _ in _FIELD_COLUMNS], table, left=2)
    return "\n\n".join([text, *_notes(rows)])


def compact_table(analysis: Analysis) -> str:
    """Return the compact table as Markdown, with one line for each window, product, pool or join."""
    header, *lines = compact_cells(analysis.rows)
    return "\n\n".join([markdown_table(header, lines, left=2), *_notes(analysis.rows)])


def outline_table(analysis: Analysis, depth: int | None = None) -> str:
    """Return the outline as Markdown, with one line for each part of a net and its equal neighbours.

    Args:
        analysis: The analysis of a net.
        depth: Parts of a path, such as 2 for `layer1.0`; None for one line for each row.
    """
    header, *lines = outline_cells(analysis.rows, analysis.parameters, depth)
    return "\n\n".join([markdown_table(header, lines, left=2), *_notes(analysis.rows)])


def totals(analysis: Analysis) -> list[str]:
    """Return the totals, one line each, with their units."""
    fixed, each = analysis.training_bytes
    files = ", ".join(f"{size_text(size)} in {name}" for name, size in analysis.file_bytes.items())
    peak, one = size_text(analysis.peak_activation_bytes), f"one {analysis.unit}"
    unregistered = sum(count for _, count in analysis.unregistered)
    frozen = analysis.parameters - analysis.trainable - unregistered
    extra = f", {unregistered:,} unregistered" if unregistered else ""
    hidden = sum(each.size for each in analysis.hidden)
    macs = macs_text(analysis.known_macs, len(analysis.unknown_macs))
    lines = [
        f"Parameters: {analysis.parameters:,} ({analysis.trainable:,} trainable, {frozen:,} not{extra})",
        f"Buffers: {analysis.buffers:,} values" + (f"; hidden tensors: {hidden:,} values" if hidden else ""),
        f"MACs: {macs} for {one}; 1 MAC (multiply-accumulate) is 2 FLOPs",
        f"Receptive field: {analysis.receptive_field_text}",
        f"Activations: {analysis.activations:,} values for {one}, peak memory {peak} (fp32)",
        f"Training, estimated: {size_text(fixed)} + {size_text(each)} for each {analysis.unit} (fp32)",
        f"Weights in a file: {files}",
    ]
    lines += analysis.remarks
    if analysis.uncovered is None:
        lines.append("Coverage of the image: unknown")
    elif any(analysis.uncovered):
        lines.append(f"Coverage of the image: no output depends on {lines_text(analysis.uncovered)}")
    else:
        lines.append("Coverage of the image: every pixel")
    return lines


def in_markdown(title: str, text: str) -> str:
    """Return a part of a summary as Markdown, with a heading."""
    heading = f"## {title.replace('-', ' ').capitalize()}"
    if text.startswith("| "):
        return f"{heading}\n\n{text}"
    if text.startswith(_RULE):
        return f"{heading}\n\n```\n{text}\n```"
    items = "\n".join(f"- {line}" for line in text.splitlines())
    return f"{heading}\n\n{items}"


def record(analysis: Analysis) -> dict[str, Any]:
    """Return all numbers as JSON values; an unknown one is null and has a note."""
    fixed, each = analysis.training_bytes
    return {
        "title": analysis.title,
        "input_shape": list(analysis.input_shape),
        "inputs": [str(each) for each in analysis.inputs],
        "unit": analysis.unit,
        "totals": {
            "parameters": analysis.parameters,
            "trainable_parameters": analysis.trainable,
            "unused_parameters": dict(analysis.unused),
            "unregistered_parameters": dict(analysis.unregistered),
            "frozen_parameters": dict(analysis.frozen),
            "idle_layers": [_member_record(each) for each in analysis.idle],
            "hidden_tensors": [_member_record(each) for each in analysis.hidden],
            "buffers": analysis.buffers,
            "macs": analysis.macs,
            "known_macs": analysis.known_macs,
            "receptive_field": list(analysis.final_receptive_field.sizes) or None,
            "receptive_field_unknown": analysis.final_receptive_field.unknown or None,
            "full_image_through": [row.name or row.operation for row in analysis.global_rows],
            "full_axis_through": {
                name: [row.name or row.operation for row in analysis.rows_along(axis)]
                for axis, name in enumerate(axis_names(len(analysis.input_shape) - 1))
            },
            "unseen_pixels": None if analysis.uncovered is None else list(analysis.uncovered),
            "activations": analysis.activations,
            "peak_activation_bytes": analysis.peak_activation_bytes,
            "training_bytes_fixed": fixed,
            "training_bytes_per_image": each,
            "file_bytes": analysis.file_bytes,
        },
        "rows": [_row_record(row) for row in analysis.rows],
    }


def _row_record(row: Row) -> dict[str, Any]:
    return {
        "operation": row.operation,
        "name": row.name,
        "block": row.block,
        "layer": row.layer,
        "sources": list(row.sources),
        "in_shape": list(row.in_shape),
        "out_shape": list(row.out_shape),
        "kernel": list(row.kernel),
        "stride": list(row.stride),
        "dilation": list(row.dilation),
        "padding": list(row.padding),
        "groups": row.groups,
        "parameters": row.parameters,
        "macs": row.macs,
        "activations": row.activations,
        "before": _field_record(row.in_field),
        "after": _field_record(row.out_field),
        "notes": list(row.notes),
        "probability": row.probability,
        "inactive": row.inactive or None,
        "location": _location_record(row.location),
        "definition": _location_record(row.definition),
    }


def _member_record(member: IdleLayer | HiddenTensor) -> dict[str, Any]:
    """Return a layer or tensor as JSON values."""
    values = {each.name: getattr(member, each.name) for each in fields(member)}
    return {
        name: _location_record(value) if name in {"definition", "location"} else value
        for name, value in values.items()
    }


def _location_record(location: Location | None) -> dict[str, Any] | None:
    return None if location is None else asdict(location)


def _field_record(field: ReceptiveField) -> dict[str, Any]:
    if not field.axes:
        if field.constant:
            return {"constant": True}
        return {"unknown": field.unknown} if field.unknown else {"whole_image": True}
    return {
        "receptive_field": list(field.sizes),
        "least": [axis.min_size for axis in field.axes],
        "jump": [float(axis.jump) for axis in field.axes],
        "start": [float(axis.start) for axis in field.axes],
        "centre": [float(axis.centre) for axis in field.axes],
    }


def _notes(rows: Sequence[Row]) -> list[str]:
    lines = note_lines(rows)
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


_FIELD_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("layer", lambda row: row.layer or row.name),
    ("operation", lambda row: row.operation),
    ("r in", lambda row: field_cell(row.in_field, lambda axis: axis.size)),
    ("n in", lambda row: axes_text(row.in_shape[1:])),
    ("j in", lambda row: field_cell(row.in_field, lambda axis: axis.jump)),
    ("stride", lambda row: axes_text(row.stride)),
    ("padding", lambda row: axes_text(row.padding)),
    ("kernel", lambda row: axes_text(row.kernel)),
    ("dilation", lambda row: axes_text(row.dilation)),
    ("r out", lambda row: size_cell(row.out_field)),
    ("n out", lambda row: axes_text(row.out_shape[1:])),
    ("j out", lambda row: field_cell(row.out_field, lambda axis: axis.jump)),
    ("start", lambda row: field_cell(row.out_field, lambda axis: axis.start)),
    ("centre", lambda row: field_cell(row.out_field, lambda axis: axis.centre)),
)
