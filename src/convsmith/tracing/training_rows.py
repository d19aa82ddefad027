"""Rows for what runs in training alone: a forward pass in evaluation mode does not show it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from convsmith.net.analysis import Analysis
from convsmith.net.rows import IMAGE, TRAINING_ONLY, Location, ReceptiveField, Row
from convsmith.tracing.dropouts import INACTIVE, TrainingCall


def insert_training_rows(
    analysis: Analysis, calls: Sequence[TrainingCall], definitions: Mapping[str, Location]
) -> Analysis:
    """Return an analysis with rows for dropouts that run in training alone."""
    for call in calls:
        name, number = call.after
        places = [index for index, row in enumerate(analysis.rows) if row.name == name]
        before = places[min(number, len(places)) - 1] if places else IMAGE
        analysis = _with_row_after(analysis, before, call, definitions)
    return analysis


def _with_row_after(
    analysis: Analysis, before: int, call: TrainingCall, definitions: Mapping[str, Location]
) -> Analysis:
    """Return an analysis with a row after another, which what used the other uses now."""
    number = before + 1
    source = None if before == IMAGE else analysis.rows[before]
    shape = source.out_shape if source else analysis.input_shape
    image = ReceptiveField.of_image(len(analysis.input_shape) - 1)
    path, location, _ = call.key
    layer = call.layer or path
    row = Row(
        operation=call.operation,
        name=call.layer or ".".join(filter(None, (path, call.operation))),
        block=layer.partition(".")[0],
        layer=layer,
        sources=(before,),
        in_shape=shape,
        out_shape=shape,
        elementwise=True,
        in_field=source.out_field if source else image,
        out_field=source.out_field if source else image,
        notes=(TRAINING_ONLY,),
        probability=call.probability,
        inactive="" if call.training else INACTIVE,
        location=location,
        definition=definitions.get(call.layer),
    )

    def moved(index: int) -> int:
        return index if index < before else index + 1

    rows = [
        replace(each, sources=tuple(map(moved, each.sources))) if index >= number else each
        for index, each in enumerate(analysis.rows)
    ]
    return replace(
        analysis, rows=(*rows[:number], row, *rows[number:]), outputs=tuple(map(moved, analysis.outputs))
    )
