"""Work-arounds for the backward pass on CPUs.

A function mode replaces calls of PyTorch's functions during the forward pass:

- Convolutions whose gradients are wrong or slow; see `convolution`, which names the conditions for removal.
- Global average pooling and flattening. PyTorch 2.13 returns their gradients with the channels first, so that
  all earlier operations combine gradients with the channels first and activations with the channels last, up
  to thirty times slower. No upstream issue is known. Remove these two when both gradients have the memory
  format of the input.
- Group norm in bf16. With the channels last, PyTorch 2.13 takes up to six times as long for several groups as
  with the channels first, copies included. No upstream issue is known. Remove it when it does not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from convsmith.system.explicit_padding import without_misses
from convsmith.system.memory_format import is_channels_last
from convsmith.training.kernels.convolution import convolve_bf16, slice_strides

# Number of arguments that a layer passes to `functional.conv2d`.
_NUM_ARGUMENTS = 7


def backward_workarounds(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return a context for the forward pass of a training step. The net is not modified.

    Args:
        device: Device of the images; without effect on other devices than a CPU.
        dtype: Data type of the forward pass.

    Example:
        >>> layer = torch.nn.Conv2d(24, 24, 3, padding=2, dilation=2, groups=24)
        >>> workarounds = backward_workarounds(torch.device("cpu"), torch.bfloat16)
        >>> with torch.autocast("cpu", torch.bfloat16), workarounds:
        ...     output = layer(torch.ones(1, 24, 32, 32))
        >>> output.sum().backward()
        >>> layer.weight.grad[0, 0, 1].tolist()
        [960.0, 1024.0, 960.0]
    """
    return _Workarounds(dtype) if device.type == "cpu" else nullcontext()


class _Workarounds(TorchFunctionMode):
    """Replaces calls of PyTorch's functions."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _POOLS and _is_global_average_pool(func, args, kwargs or {}):
            pooled: Tensor = _GlobalAveragePool.apply(args[0])  # type: ignore[no-untyped-call]
            return pooled if _keeps_positions(func, args, kwargs or {}) else pooled.flatten(1)
        if func is Tensor.flatten and _is_map(args[0]):
            args = (_ChannelsLast.apply(args[0]), *args[1:])  # type: ignore[no-untyped-call]
        elif func is functional.conv2d and len(args) == _NUM_ARGUMENTS:
            if self.dtype == torch.float32:
                args = slice_strides(args)
            else:
                # Its backward pass would end the process too.
                args = without_misses(args)
                if (output := convolve_bf16(args)) is not None:
                    return output
        elif func is functional.group_norm and _has_bf16_groups(args):
            maps = _ChannelsLast.apply(args[0]).contiguous()  # type: ignore[no-untyped-call]
            normed: Tensor = func(maps, *args[1:], **(kwargs or {}))
            return normed.contiguous(memory_format=torch.channels_last)
        return func(*args, **(kwargs or {}))


_POOLS = (functional.adaptive_avg_pool2d, Tensor.mean, torch.mean)
# Of `mean`: the arguments after the tensor.
_MEAN = ("dim", "keepdim", "dtype", "out")


def _is_global_average_pool(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call averages maps whose channels are last over all positions."""
    if not args or not _is_map(args[0]):
        return False
    if func is functional.adaptive_avg_pool2d:
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        return size == 1 or list(size or ()) == [1, 1]
    given = {**dict(zip(_MEAN, args[1:], strict=False)), **kwargs}
    dims = given.get("dim")
    is_plain = isinstance(dims, tuple | list) and not {"dtype", "out"} & given.keys()
    return is_plain and sorted(each % 4 for each in dims or ()) == [2, 3]


def _has_bf16_groups(args: Sequence[Any]) -> bool:
    """Whether a group norm has several groups, and maps in bf16 whose channels are last."""
    return len(args) > 1 and args[1] > 1 and args[0].dtype == torch.bfloat16 and _is_map(args[0])


def _keeps_positions(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if func is functional.adaptive_avg_pool2d:
        return True
    return bool(dict(zip(_MEAN, args[1:], strict=False)).get("keepdim") or kwargs.get("keepdim"))


def _is_map(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and is_channels_last(tensor)


class _GlobalAveragePool(torch.autograd.Function):
    """Global average pooling of maps `(N, C, H, W)`."""

    @staticmethod
    def forward(ctx, maps: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001
        ctx.size = maps.shape[2:]
        mean: Tensor = maps.mean((2, 3), keepdim=True)
        return mean

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001
        height, width = ctx.size
        share: Tensor = (gradient / (height * width)).permute(0, 2, 3, 1)
        return share.expand(-1, height, width, -1).contiguous().permute(0, 3, 1, 2)


class _ChannelsLast(torch.autograd.Function):
    """The identity; its gradient has the channels last in memory."""

    @staticmethod
    def forward(ctx, maps: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG004
        return maps.view_as(maps)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG004
        return gradient.contiguous(memory_format=torch.channels_last)
