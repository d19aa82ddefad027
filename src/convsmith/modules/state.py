"""The buffers of a net and its copies, whether their layers write into them or replace them.

`self.running_mean.mul_(0.9)` writes into a buffer, `self.steps = self.steps + 1` replaces it. Buffers with
`persistent=False` count too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convsmith.tracing.members import named_buffers, named_modules, named_parameters


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """Return the live parameters and buffers of a net by name, each once.

    Example:
        >>> net = nn.BatchNorm2d(3, affine=False)
        >>> net.register_buffer("steps", torch.tensor(0), persistent=False)
        >>> list(state_of(net))
        ['running_mean', 'running_var', 'num_batches_tracked', 'steps']
    """
    return {**named_parameters(net), **named_buffers(net)}


def is_batch_counter(net: nn.Module, name: str) -> bool:
    """Return whether a name is the counter of a batch norm, which files before PyTorch 0.4.1 do not have."""
    path, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and isinstance(
        net.get_submodule(path),
        nn.modules.batchnorm._NormBase,  # noqa: SLF001 - the base of all of them
    )


class Layout:
    """The names and shapes of the state of a net at the beginning, which a new net has too.

    Buffers that a forward pass creates or resizes, such as a table of positions, are no state.

    Args:
        net: With its initial weights.
    """

    def __init__(self, net: nn.Module) -> None:
        self._shapes = {name: tensor.shape for name, tensor in state_of(net).items()}

    def select(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors with such names and shapes."""
        return {name: tensor for name, tensor in tensors.items() if self._shapes.get(name) == tensor.shape}


@torch.no_grad()
def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Copy the parameters and buffers of a net to those of a net with the same layers."""
    parameters = named_parameters(source)
    for name, tensor in named_parameters(target).items():
        tensor.copy_(parameters[name])
    copy_buffers(source, target)


@torch.no_grad()
def copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Copy the buffers of a net to those of a copy of it."""
    merge_buffers([source], target)


@torch.no_grad()
def merge_buffers(sources: Sequence[nn.Module], target: nn.Module) -> None:
    """Set the buffers of a net to the means of those of its copies; integers to those of the first copy."""
    owners = [named_modules(source) for source in sources]
    for path, owner in named_modules(target).items():
        stores = [each[path]._buffers for each in owners]  # noqa: SLF001 - a buffer may be None
        for name in {**owner._buffers, **stores[0]}:  # noqa: SLF001
            _set_buffer(owner, name, _merged([store.get(name) for store in stores]))


def _merged(values: list[Tensor | None]) -> Tensor | None:
    first, *others = values
    if first is None or not first.is_floating_point():
        return first
    same_shape = [each for each in others if each is not None and each.shape == first.shape]
    # The mean of equal numbers can be rounded.
    if len(same_shape) < len(others) or all(torch.equal(first, each) for each in same_shape):
        return first
    return torch.stack([first, *same_shape]).mean(0)


def _set_buffer(owner: nn.Module, name: str, value: Tensor | None) -> None:
    present = owner._buffers.get(name)  # noqa: SLF001 - as above
    if value is None or present is None or (present.shape, present.dtype) != (value.shape, value.dtype):
        owner._buffers[name] = None if value is None else value.clone()  # noqa: SLF001
    elif present is not value:
        present.copy_(value)


class BufferSnapshot:
    """The buffers of nets at one time.

    Args:
        nets: Whose buffers `restore` sets back.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        owners = {id(owner): owner for net in nets for owner in named_modules(net).values()}
        self._saved = [
            (owner, {name: (tensor, _clone(tensor)) for name, tensor in owner._buffers.items()})  # noqa: SLF001 - as above
            for owner in owners.values()
        ]

    def changed(self) -> list[nn.Module]:
        """Return the layers whose own buffers differ."""
        return [
            owner
            for owner, buffers in self._saved
            if any(not _equal(owner._buffers.get(name), value) for name, (_, value) in buffers.items())  # noqa: SLF001 - as above
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Set the buffers back: the same tensors, with the same values."""
        for owner, buffers in self._saved:
            for name, (tensor, value) in buffers.items():
                owner._buffers[name] = tensor  # noqa: SLF001 - as above
                if tensor is not None and value is not None:
                    tensor.copy_(value)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
