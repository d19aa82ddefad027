"""Search for the smallest change of a notation that passes a failed check."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from convsmith.errors import ShapeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis, analyze
from convsmith.net.layers.layer import Layer
from convsmith.net.plan import plan
from convsmith.net.spec import Item, Net, Repeat, Residual

# Widths are tried in steps that fill vector lanes.
_STEP = 8
_PARTS = 8


def over(analysis: Analysis, excess: int, number: str, fits: Callable[[Analysis], bool]) -> str:
    """Describe how to reduce the sum of a number of all rows: by how much, the largest rows, and a change.

    Args:
        analysis: The analysis of the net.
        excess: How much the sum is over its limit.
        number: The attribute of a row.
        fits: Whether the analysis of a changed net is within the limit.
    """
    rows = sorted(analysis.rows, key=lambda row: getattr(row, number) or 0, reverse=True)[:3]
    largest = ", ".join(f"{row.layer or row.name} ({getattr(row, number):,})" for row in rows)
    text = f"{excess:,} over; the largest layers are {largest}"
    change = narrow(analysis, fits) if isinstance(analysis, SpecAnalysis) else ""
    return f"{text}; {change}" if change else text


def enlarge(analysis: Analysis, least: int) -> str:
    """Describe how to enlarge the receptive field to at least `least` pixels."""
    change = ""
    if isinstance(analysis, SpecAnalysis):
        change = dilate_or_stride(analysis, lambda other: (other.receptive_field or 0) >= least)
    return change or "dilate 3x3 convolutions, stride earlier, or add layers"


def narrow(analysis: SpecAnalysis, fits: Callable[[Analysis], bool]) -> str:
    """Narrow one layer by as few channels as possible, at most half; else all layers in one proportion.

    Returns:
        The change, or an empty text if narrowing does not help.
    """
    layers = [layer for layer in analysis.plan.net.layers() if layer.kind.number == "width"][:-1]
    widest = max((layer.number or 0 for layer in layers), default=0)
    for step in range(_STEP, widest // 2 + 1, _STEP):
        for layer in layers:
            width = (layer.number or 0) - step
            if width >= step and _passes(analysis, {layer.position: _narrowed(layer, width)}, fits):
                changed = _narrowed(layer, width)
                return f"narrow {layer} to {changed} at character {layer.position + 1}"
    for parts in range(_PARTS - 1, 0, -1):
        changes = {
            layer.position: _narrowed(layer, (layer.number or 0) * parts // _PARTS) for layer in layers
        }
        if _passes(analysis, changes, fits):
            return f"keep {parts}/{_PARTS} of the channels in every layer"
    return ""


def dilate_or_stride(analysis: SpecAnalysis, fits: Callable[[Analysis], bool]) -> str:
    """Find a dilation or a stride that enlarges the receptive field enough; empty if there is none."""
    layers = [layer for layer in analysis.plan.net.layers() if layer.kind.convolution]
    dilated = [(layer, replace(layer, dilation=2)) for layer in layers if "d" in layer.kind.options]
    strided = [(layer, replace(layer, stride=2)) for layer in layers]
    for layer, changed in dilated + strided:
        plain = layer.stride == layer.dilation == 1 and layer.padding is None
        if plain and _passes(analysis, {layer.position: changed}, fits):
            return f"change {layer} to {changed} at character {layer.position + 1}"
    return ""


def _narrowed(layer: Layer, width: int) -> Layer:
    """The layer with a width that fills vector lanes, at least one."""
    return replace(layer, number=max(_STEP, width // _STEP * _STEP))


def _passes(analysis: SpecAnalysis, changes: dict[int, Layer], fits: Callable[[Analysis], bool]) -> bool:
    old = analysis.plan
    net = Net(blocks=tuple(tuple(_changed(block, changes)) for block in old.net.blocks))
    try:
        changed = analyze(plan(net, old.input_shape, old.settings))
    except ShapeError:
        return False
    return changed.num_outputs == analysis.num_outputs and fits(changed)


def _changed(items: tuple[Item, ...], changes: dict[int, Layer]) -> Iterator[Item]:
    for item in items:
        match item:
            case Layer():
                yield changes.get(item.position, item)
            case Residual() | Repeat():
                yield replace(item, items=tuple(_changed(item.items, changes)))
