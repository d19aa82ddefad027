"""Hints: what is allowed and rarely intended, apart from the checks of a brief."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from convsmith.briefs.structure import is_convolution, window_acts
from convsmith.net.analysis import Analysis
from convsmith.net.effects import is_dropout
from convsmith.net.rows import ALWAYS_ACTIVE, Location, Row

_LANES = 8
_BOTTLENECK = 4


@dataclass(frozen=True, kw_only=True)
class Hint:
    """A remark on one layer.

    Attributes:
        location: The line of the user's file that makes the layer; None in the notation.
    """

    topic: str
    layer: str
    what: str
    location: Location | None = None


def hints(analysis: Analysis) -> tuple[Hint, ...]:
    """Find layers that do little for their cost.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> [hint.topic for hint in hints(analyze(plan(parse("C12 C16 / G F10"), (3, 8, 8))))]
        ['vector lanes']
    """
    rows = analysis.rows
    return (
        *_never_called(analysis),
        *_dropout_in_evaluation(rows),
        *_padding_only(analysis),
        *_lone_taps(rows),
        *_bottlenecks(rows),
        *_lanes(rows),
        *_dropout_before_norm(rows),
        *_bias_before_norm(rows),
    )


def grouped(hints: Sequence[Hint]) -> Iterator[Hint]:
    """Yield one hint for each topic: its first layer, with the number of the others."""
    for _, group in groupby(hints, key=lambda hint: hint.topic):
        first, *others = group
        more = f" (and {len(others)} more)" if others else ""
        yield replace(first, layer=f"{first.layer}{more}")


def _never_called(analysis: Analysis) -> Iterator[Hint]:
    for layer in analysis.idle:
        count = f", with {layer.parameters:,} parameters" if layer.parameters else ""
        yield Hint(
            topic="never called",
            layer=layer.name,
            location=layer.definition,
            what=f"forward does not call this {layer.operation}{count}",
        )


def _dropout_in_evaluation(rows: Sequence[Row]) -> Iterator[Hint]:
    for row in rows:
        if ALWAYS_ACTIVE in row.notes and not row.inactive:
            yield Hint(
                topic="dropout in evaluation", layer=_name(row), location=_line(row), what=ALWAYS_ACTIVE
            )


def _padding_only(analysis: Analysis) -> Iterator[Hint]:
    """Layers whose input has a receptive field as large as the image: their window adds only padding.

    Richter et al., 2021, "Should You Go Deeper?", arXiv 2106.12307.
    """
    sizes = analysis.input_shape[1:]
    for row in analysis.rows:
        narrowest = [axis.min_size for axis in row.in_field.axes]
        if (
            max(row.kernel, default=1) > 1
            and narrowest
            and all(field >= size for field, size in zip(narrowest, sizes, strict=True))
        ):
            field = "x".join(map(str, narrowest))
            yield Hint(
                topic="beyond the image",
                layer=_name(row),
                location=_line(row),
                what=f"the receptive field of its input is {field} already: its window adds only padding",
            )


def _lone_taps(rows: tuple[Row, ...]) -> Iterator[Hint]:
    """Dilated windows whose taps are so far apart that only one of them is on the map."""
    for row in rows:
        if is_convolution(row) and max(row.kernel) > 1 and max(row.dilation) > 1 and not window_acts(row):
            size = "x".join(map(str, row.in_shape[1:]))
            yield Hint(
                topic="one tap on the map",
                layer=_name(row),
                location=_line(row),
                what=f"on a map of {size}, taps {max(row.dilation)} apart: all but one see only padding",
            )


def _bottlenecks(rows: tuple[Row, ...]) -> Iterator[Hint]:
    for row in rows:
        values = 1
        for size in row.in_shape:
            values *= size
        if is_convolution(row) and max(row.in_shape[1:]) > 1 and row.activations * _BOTTLENECK < values:
            yield Hint(
                topic="bottleneck",
                layer=_name(row),
                location=_line(row),
                what=f"{values:,} values become {row.activations:,}, less than 1/{_BOTTLENECK} in one step",
            )


def _lanes(rows: tuple[Row, ...]) -> Iterator[Hint]:
    for row in rows[:-1]:
        width = row.width[1]
        if is_convolution(row) and width % _LANES and row.out_field.axes and max(row.out_shape[1:]) > 1:
            full = -(-width // _LANES) * _LANES
            yield Hint(
                topic="vector lanes",
                layer=_name(row),
                location=_line(row),
                what=f"{width} channels take as long as {full}: processors compute {_LANES} or more at once",
            )


def _dropout_before_norm(rows: tuple[Row, ...]) -> Iterator[Hint]:
    """Li et al., 2018, "Understanding the Disharmony between Dropout and Batch Normalization", 1801.05134."""
    drops = [index for index, row in enumerate(rows) if is_dropout(row) and not row.inactive]
    norms = [index for index, row in enumerate(rows) if row.operation.startswith("BatchNorm")]
    early = [index for index in drops if norms and index < norms[-1]]
    if early:
        yield Hint(
            topic="dropout before batch norm",
            layer=_name(rows[early[0]]),
            location=_line(rows[early[0]]),
            what=f"{len(early)} of {len(drops)} dropouts change the variance that a later norm learns",
        )


def _bias_before_norm(rows: tuple[Row, ...]) -> Iterator[Hint]:
    for row in rows:
        if row.operation.startswith("BatchNorm") and len(row.sources) == 1 and row.sources[0] >= 0:
            source = rows[row.sources[0]]
            if is_convolution(source) and source.bias:
                yield Hint(
                    topic="bias before batch norm",
                    layer=_name(source),
                    location=_line(source),
                    what=f"the norm cancels its bias: {source.width[1]} parameters have no effect",
                )


def _name(row: Row) -> str:
    return f"{row.layer} ({row.name})" if row.layer and row.layer != row.name else row.name


def _line(row: Row) -> Location | None:
    return row.definition or row.location
