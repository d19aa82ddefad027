"""Work-arounds for the backward pass on CPUs.

A function mode replaces calls of PyTorch's functions during the forward pass:

- Convolutions whose gradients are wrong or slow; see `convolution`, which names the conditions for removal.
- Global average pooling and flattening. PyTorch 2.13 returns their gradients with the channels first, so that
  all earlier operations combine gradients with the channels first and activations with the channels last, up
  to thirty times slower. No upstream issue is known. Remove these two when both gradients have the memory
  format of the input.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

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
        if func is functional.adaptive_avg_pool2d and args[1] == 1:
            return _GlobalAveragePool.apply(args[0])  # type: ignore[no-untyped-call]
        if func is Tensor.flatten and args[0].dim() == 4:
            args = (_ChannelsLast.apply(args[0]), *args[1:])  # type: ignore[no-untyped-call]
        elif func is functional.conv2d and len(args) == _NUM_ARGUMENTS:
            if self.dtype == torch.float32:
                args = slice_strides(args)
            elif (output := convolve_bf16(args)) is not None:
                return output
        return func(*args, **(kwargs or {}))


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
