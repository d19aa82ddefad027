"""The smallest change of a notation that mends a failed check, found by trying them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from convsmith.arch.analyze import SpecAnalysis, analyze
from convsmith.arch.facts import Analysis
from convsmith.arch.kinds import KINDS
from convsmith.arch.plan import plan
from convsmith.arch.spec import Item, Layer, Net, Repeat, Residual
from convsmith.errors import ShapeError

# Widths are tried in steps that fill vector lanes.
_STEP = 8


def narrower(analysis: SpecAnalysis, keeps: Callable[[Analysis], bool]) -> str:
    """The layer that has to lose the fewest channels, or nothing.

    Where no single layer is enough, all layers of one width are narrowed together.
    """
    layers = [layer for layer in analysis.plan.net.layers() if KINDS[layer.kind].number == "width"][:-1]
    widths = sorted({layer.number for layer in layers if layer.number}, reverse=True)
    for step in range(1, max(widths, default=0) // _STEP):
        for layer in layers:
            changed = _narrowed(layer, step)
            if changed and _holds(analysis, {layer.position: changed}, keeps):
                return f"narrowing {layer} -> {changed} at character {layer.position + 1} would do"
    for width in widths:
        for step in range(1, width // _STEP):
            together = {
                layer.position: changed
                for layer in layers
                if layer.number == width and (changed := _narrowed(layer, step))
            }
            if _holds(analysis, together, keeps):
                return f"narrowing all layers of {width} channels to {width - step * _STEP} would do"
    return ""


def farther(analysis: SpecAnalysis, keeps: Callable[[Analysis], bool]) -> str:
    """A dilation or a stride that makes the receptive field large enough, or nothing."""
    layers = [layer for layer in analysis.plan.net.layers() if KINDS[layer.kind].convolution]
    dilated = [(layer, replace(layer, dilation=2)) for layer in layers if "d" in KINDS[layer.kind].options]
    strided = [(layer, replace(layer, stride=2)) for layer in layers]
    for layer, changed in dilated + strided:
        plain = layer.stride == layer.dilation == 1 and layer.padding is None
        if plain and _holds(analysis, {layer.position: changed}, keeps):
            return f"{layer} -> {changed} at character {layer.position + 1} would do"
    return ""


def _narrowed(layer: Layer, step: int) -> Layer | None:
    width = (layer.number or 0) - step * _STEP
    return replace(layer, number=width) if width >= _STEP and width % layer.groups == 0 else None


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
