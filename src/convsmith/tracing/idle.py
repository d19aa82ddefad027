"""Layers that a module has and that its forward pass never calls."""

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from convsmith.net.rows import IdleLayer, Location
from convsmith.tracing.members import named_modules, named_parameters

_NO_LAYERS = (
    nn.ModuleList,
    nn.ModuleDict,
    nn.ParameterList,
    nn.ParameterDict,
    nn.Sequential,
    torch.jit.ScriptModule,
)
_WIDTHS = ("out_channels", "num_features", "out_features", "num_channels")


def idle_layers(
    module: nn.Module,
    called: Collection[int],
    used: Collection[int],
    definitions: Mapping[str, Location],
) -> tuple[IdleLayer, ...]:
    """Return the layers that were not called, in the order of their paths.

    A layer whose weights are used without a call of it is none of them, nor is a loss.

    Args:
        module: The net.
        called: The identities of the modules that were called.
        used: Those of the parameters that an operation uses.
        definitions: The lines where layers are made, by path.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        >>> [each.name for each in idle_layers(net, {id(net), id(net[0])}, (), {})]
        ['1']
    """
    modules = named_modules(module)
    return tuple(
        IdleLayer(
            name=path,
            operation=type(each).__name__,
            parameters=sum(tensor.numel() for tensor in named_parameters(each).values()),
            width=_width(each),
            definition=definitions.get(path),
            after=_after(modules, path, called),
        )
        for path, each in _layers(modules)
        if id(each) not in called and not any(id(tensor) in used for tensor in _weights(each))
    )


def _layers(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules without others in them; those inside a layer of PyTorch are its own."""
    above_others = {path.rpartition(".")[0] for path in modules}
    for path, each in modules.items():
        above = modules.get(path.rpartition(".")[0])
        inside = isinstance(above, nn.MultiheadAttention)
        is_loss = type(each).__module__ == "torch.nn.modules.loss"
        if path and path not in above_others and not (inside or is_loss or isinstance(each, _NO_LAYERS)):
            yield path, each


def _weights(module: nn.Module) -> list[Tensor]:
    return list(named_parameters(module).values())


def _width(module: nn.Module) -> int:
    widths = (getattr(module, name, 0) for name in _WIDTHS)
    return next((width for width in widths if isinstance(width, int) and width), 0)


def _after(modules: Mapping[str, nn.Module], path: str, called: Collection[int]) -> str:
    """Return the layer before another in the order of their definition, if it is called."""
    layers = dict(_layers(modules))
    before = ""
    for other, each in layers.items():
        if other == path:
            return before
        if id(each) in called:
            before = other
    return ""
