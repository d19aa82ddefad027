"""Tensors with values among fake ones: weights and buffers, until the forward pass writes into them.

What is computed from them alone is computed, so that a forward pass may branch on it and pick positions by
it. What the image may change becomes a fake tensor.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._pytree import tree_map_only

from convsmith.tracing.calls import tensors_in

# Operators without tensors whose results are positions.
_COUNTS = {torch.ops.aten.arange.default, torch.ops.aten.arange.start, torch.ops.aten.arange.start_step}


def memory_of(tensor: Tensor) -> int:
    """Identify the storage of a tensor; that of a fake one has no address."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - see above


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor inside those of `torch.vmap` and the like, on which operators run."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


class Values:
    """The real tensors that operators take, and the fake tensors in the place of those that were written."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        # Tensors are identified by their id, so they must not be freed while the module runs.
        self.real: dict[int, Tensor] = {}
        self.fakes: dict[int, Tensor] = {}
        self.written: set[int] = set()

    def current(self, tensor: Tensor) -> Tensor:
        """Return the tensor that operators use in the place of a tensor."""
        tensor = unwrapped(tensor)
        return self.fakes.get(id(tensor), tensor)

    def write(self, tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Note that tensors are written; return the real ones that share their memory, with their fakes."""
        changed = []
        for tensor in tensors:
            if not _has_values(tensor) or memory_of(tensor) in self.written:
                continue
            self.written.add(memory_of(tensor))
            same = [each for each in self.real.values() if memory_of(each) == memory_of(tensor)]
            changed += [(each, self._fake(each)) for each in same]
        return changed

    def note(self, value: Any) -> None:
        """Keep the real tensors of a call."""
        self.real |= {id(each): each for each in tensors_in(value) if _has_values(each)}

    def arguments(self, func: Callable[..., Any], value: Any) -> Any:
        """Return arguments with fake tensors in the place of written ones, and positions in that of masks."""

        def replace(tensor: Tensor) -> Tensor:
            changed = _has_values(tensor) and memory_of(tensor) in self.written
            return self._fake(tensor) if changed else tensor

        value = tree_map_only(Tensor, replace, value) if self.written else value
        if func is not torch.ops.aten.index.Tensor:
            return value
        (tensor, indices), kwargs = value
        return (tensor, [position for each in indices for position in _positions(each)]), kwargs

    def call(self, func: Callable[..., Any], args: Any, kwargs: Any, *, writes: bool) -> Any:
        """Call an operator, with values if it takes nothing else."""
        tensors = list(tensors_in((args, kwargs)))
        known = all(map(_has_values, tensors)) if tensors else func in _COUNTS
        if writes or not known:
            return func(*args, **kwargs)
        try:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):  # For example, for a data type of another device.
            return func(*args, **kwargs)

    def _fake(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self.fakes:
            self.real[id(tensor)] = tensor
            self.fakes[id(tensor)] = self.mode.from_tensor(tensor)
        return self.fakes[id(tensor)]


def _positions(index: Tensor | None) -> list[Tensor | None]:
    """Return the positions of a mask with known values, one tensor for each of its dimensions."""
    if index is None or not _has_values(index) or index.dtype != torch.bool:
        return [index]
    with unset_fake_temporarily():
        return list(index.nonzero(as_tuple=True))


def _has_values(tensor: Tensor) -> bool:
    return not isinstance(tensor, FakeTensor) and not tensor.is_meta
