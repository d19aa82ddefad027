"""Fast dropout on CPUs, with its own random generator.

PyTorch draws the mask on a CPU value by value, which can take a third of the training step of a small net:
https://github.com/pytorch/pytorch/issues/138199. Here four bf16 values, or two fp32 values, share one 64-bit
random number, and the mask is applied bitwise. The generator makes the result independent of the number of
threads. Remove this when PyTorch's dropout is as fast and accepts a generator.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Integer types with the width of the masked values, by size in bytes, and their bits without the sign.
_LANES = {2: (torch.int16, 15), 4: (torch.int32, 31), 8: (torch.int64, 63)}


class Dropout(nn.Dropout):
    """Drop-in replacement of `nn.Dropout`.

    Args:
        p: Probability of a zero.
        generator: Random generator of the masks; by default PyTorch's global generator.
        inplace: Whether the input gets the result too.

    Example:
        >>> dropped = Dropout(0.25)(torch.ones(1, 8, 64, 64))
        >>> sorted(set(dropped.flatten().tolist())), round(dropped.mean().item(), 1)
        ([0.0, 1.3333333730697632], 1.0)
    """

    def __init__(
        self, p: float = 0.5, generator: torch.Generator | None = None, *, inplace: bool = False
    ) -> None:
        super().__init__(p, inplace)
        self.masks = _Masks(generator)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn.Dropout
        if not self.training or not self.p:
            return input
        if input.device.type != "cpu" or input.element_size() not in _LANES or self.p == 1:
            return super().forward(input)
        values = input if _is_dense(input) else input.contiguous()
        dropped: Tensor = _Drop.apply(values, self.p, self.masks.generator)  # type: ignore[no-untyped-call]
        return input.copy_(dropped) if self.inplace else dropped


class _Masks:
    """The generator of the masks. Copies of a net have one in the same state: PyTorch does not copy it."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Masks":
        return _Masks(self.generator and self.generator.clone_state())


def _is_dense(tensor: Tensor) -> bool:
    dense: bool = torch.ops.aten.is_non_overlapping_and_dense(tensor)
    return dense


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, p: float, generator: torch.Generator | None) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001
        ctx.scale = 1 / (1 - p)
        mask = _keep_mask(values, p, generator)
        ctx.save_for_backward(mask)
        return _masked(values, mask, ctx.scale)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def] # noqa: ANN001
        (mask,) = ctx.saved_tensors
        return _masked(gradient, mask, ctx.scale), None, None


def _keep_mask(values: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Return a bit mask in the memory layout of the values: ones where they are kept, else zeros."""
    lane, bits = _LANES[values.element_size()]
    words = -(-values.numel() * values.element_size() // 8)
    random = torch.empty(words, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    numbers = random.view(lane)[: values.numel()].bitwise_and_(2**bits - 1)
    # Kept if the random number is at least p * 2**bits: the difference is negative, its sign bit 1.
    numbers.neg_().add_(round(p * 2**bits) - 1).bitwise_right_shift_(bits)
    return numbers.as_strided(values.shape, values.stride())


def _masked(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    return values.view(mask.dtype).bitwise_and(mask).view(values.dtype).mul_(scale)


def use_fast_dropout(net: nn.Module, generator: torch.Generator | None = None) -> None:
    """Make every `nn.Dropout` of a net a `Dropout`, in place.

    The objects stay the same, so that hooks and other references to them stay too.
    """
    for module in net.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
            module.__dict__["masks"] = _Masks(generator)


def use_plain_dropout(net: nn.Module) -> None:
    """Make every `Dropout` of a net an `nn.Dropout` again, in place.

    Example:
        >>> net = nn.Sequential(nn.Dropout())
        >>> use_fast_dropout(net)
        >>> use_plain_dropout(net)
        >>> type(net[0]) is nn.Dropout, vars(net[0]).keys() == vars(nn.Dropout()).keys()
        (True, True)
    """
    for module in net.modules():
        if type(module) is Dropout:
            del module.__dict__["masks"]
            module.__class__ = nn.Dropout  # type: ignore[assignment]
