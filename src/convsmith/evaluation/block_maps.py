"""The maps that the blocks of a net return for one image."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.evaluation.forward import Forward, forward_of
from convsmith.evaluation.function_calls import FunctionCall, FunctionCalls
from convsmith.net.analysis import Analysis
from convsmith.net.rows import Shape

# With more blocks, the last map of each size is shown.
MOST_BLOCKS = 12


@dataclass(frozen=True, kw_only=True)
class BlockMap:
    """The path of a block, "" for a map that a function made, and its output `(C, h, w)`."""

    name: str
    maps_CHW: Tensor  # noqa: N815 - shape suffix


@torch.no_grad()
def block_maps(net: nn.Module, analysis: Analysis, image_CHW: Tensor) -> list[BlockMap]:  # noqa: N803
    """Return the outputs of the blocks of a net for one image.

    Blocks are the children that have children of their own, as `layer1` to `layer4` of a ResNet. Where there
    is only one, as in a net that holds one `nn.Sequential`, they are its blocks. A net of layers without
    blocks, and one of more than twelve, is shown by the last map of each size.

    Args:
        net: In evaluation mode; it is not modified.
        analysis: Of the net.
        image_CHW: `(C, H, W)`, normalized.

    Returns:
        The outputs that are maps of more than one position, in the order of execution.

    Example:
        >>> from convsmith.tracing.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()).eval()
        >>> maps = block_maps(net, trace(net, (3, 16, 16)), torch.randn(3, 16, 16))
        >>> [tuple(each.maps_CHW.shape) for each in maps]
        [(4, 14, 14), (8, 6, 6)]
    """
    names = {module: name for name, module in net.named_modules()}
    forward, image = forward_of(net, image_CHW), image_CHW[None]
    shapes: dict[nn.Module, Shape] = {}
    with _outputs(names, lambda module, output: _put_last(shapes, module, tuple(output.shape[1:]))):
        forward(image)
    blocks = _blocks(net, shapes)
    if not blocks:
        return _last_of_each_size(forward, analysis, image)
    outputs: dict[nn.Module, Tensor] = {}
    # A copy: the next block's activation may write into its input.
    with _outputs(blocks, lambda module, output: _put_last(outputs, module, output[0].clone())):
        forward(image)
    maps = [BlockMap(name=names[module], maps_CHW=output) for module, output in outputs.items()]
    # The blocks of an `nn.Sequential`, as those of the notation, are as its author listed them.
    return maps if len(maps) <= MOST_BLOCKS or isinstance(net, nn.Sequential) else _ends(maps)


@contextmanager
def _outputs(modules: Iterable[nn.Module], keep: Any) -> Iterator[None]:
    """Pass the maps that modules return to a function, with the module."""

    def visit(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            keep(module, output)

    hooks = [module.register_forward_hook(visit) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _put_last(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Put a value at the end of a table: of a module that is called several times, the last call counts."""
    table.pop(key, None)
    table[key] = value


def _blocks(module: nn.Module, returned: Collection[nn.Module]) -> list[nn.Module]:
    """Return the blocks of a module, of the modules that returned maps; empty if it has layers alone."""
    blocks = [
        child for child in _children(module) if child in returned and any(True for _ in child.children())
    ]
    if isinstance(module, nn.Sequential):
        return blocks
    # One block with blocks of its own stands for them: a body beside a stem.
    inner = {block: _blocks(block, returned) for block in blocks}
    nested = [block for block in blocks if len(inner[block]) > 1]
    if len(nested) != 1:
        return inner[blocks[0]] if len(blocks) == 1 else blocks
    return [each for block in blocks for each in (inner[block] if block in nested else [block])]


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the children; those of lists and dictionaries in place of these."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _children(child)
        else:
            yield child


def _last_of_each_size(forward: Forward, analysis: Analysis, image: Tensor) -> list[BlockMap]:
    """Return the last map before its size changes, whatever function made it."""
    shapes = {row.out_shape for row in analysis.rows if row.out_field.axes and all(row.out_field.sizes)}
    ends: list[Tensor] = []

    def keep(call: FunctionCall) -> Tensor:
        shape = tuple(call.result.shape[1:])
        if call.result.dim() == 4 and shape in shapes and call.result[0, 0].numel() > 1:
            if ends and ends[-1].shape[1:] == shape[1:]:
                ends.pop()
            ends.append(call.result[0].clone())
        return call.result

    with FunctionCalls(keep):
        forward(image)
    return [BlockMap(name="", maps_CHW=maps) for maps in ends[-MOST_BLOCKS:]]


def _ends(maps: list[BlockMap]) -> list[BlockMap]:
    """Return the last of neighbouring maps of one size."""
    sizes = [each.maps_CHW.shape[1:] for each in maps]
    ends = [
        each
        for each, size, following in zip(maps, sizes, [*sizes[1:], None], strict=True)
        if size != following
    ]
    return ends[-MOST_BLOCKS:]
