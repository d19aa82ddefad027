"""The smallest change of a notation that mends a failed check, found by trying them."""

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


def narrower(analysis: SpecAnalysis, keeps: Callable[[Analysis], bool]) -> str:
    """The layer that has to lose the fewest channels, at most half; else all layers in one proportion.

    Returns:
        What to write, or nothing where narrowing does not help.
    """
    layers = [layer for layer in analysis.plan.net.layers() if layer.kind.number == "width"][:-1]
    widest = max((layer.number or 0 for layer in layers), default=0)
    for step in range(_STEP, widest // 2 + 1, _STEP):
        for layer in layers:
            width = (layer.number or 0) - step
            if width >= step and _holds(analysis, {layer.position: _narrowed(layer, width)}, keeps):
                narrow = _narrowed(layer, width)
                return f"narrowing {layer} -> {narrow} at character {layer.position + 1} would do"
    for parts in range(_PARTS - 1, 0, -1):
        changes = {
            layer.position: _narrowed(layer, (layer.number or 0) * parts // _PARTS) for layer in layers
        }
        if _holds(analysis, changes, keeps):
            return f"{parts}/{_PARTS} of the channels in every layer would do"
    return ""


def farther(analysis: SpecAnalysis, keeps: Callable[[Analysis], bool]) -> str:
    """A dilation or a stride that makes the receptive field large enough, or nothing."""
    layers = [layer for layer in analysis.plan.net.layers() if layer.kind.convolution]
    dilated = [(layer, replace(layer, dilation=2)) for layer in layers if "d" in layer.kind.options]
    strided = [(layer, replace(layer, stride=2)) for layer in layers]
    for layer, changed in dilated + strided:
        plain = layer.stride == layer.dilation == 1 and layer.padding is None
        if plain and _holds(analysis, {layer.position: changed}, keeps):
            return f"{layer} -> {changed} at character {layer.position + 1} would do"
    return ""


def _narrowed(layer: Layer, width: int) -> Layer:
    """The layer with a width that fills vector lanes, at least one."""
    return replace(layer, number=max(_STEP, width // _STEP * _STEP))


def _holds(analysis: SpecAnalysis, changes: dict[int, Layer], keeps: Callable[[Analysis], bool]) -> bool:
    old = analysis.plan
    net = Net(blocks=tuple(tuple(_changed(block, changes)) for block in old.net.blocks))
    try:
        changed = analyze(plan(net, old.input_shape, old.settings))
    except ShapeError:
        return False
    return changed.num_outputs == analysis.num_outputs and keeps(changed)


def _changed(items: tuple[Item, ...], changes: dict[int, Layer]) -> Iterator[Item]:
    for item in items:
        match item:
            case Layer():
                yield changes.get(item.position, item)
            case Residual() | Repeat():
                yield replace(item, items=tuple(_changed(item.items, changes)))
