"""What a training step on a CPU does otherwise than PyTorch, so that its backward pass is right and fast."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from convsmith.training.kernels.convolution import convolved, without_stride

# Of `functional.conv2d`, all of which a layer gives.
_ARGUMENTS = 7


def prepared_backward(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """For the forward pass of a training step; the net stays as it is.

    Args:
        device: Of the images; only a CPU is helped.
        dtype: What the forward pass computes in.

    Example:
        >>> layer = torch.nn.Conv2d(24, 24, 3, padding=2, dilation=2, groups=24)
        >>> prepared = prepared_backward(torch.device("cpu"), torch.bfloat16)
        >>> with torch.autocast("cpu", torch.bfloat16), prepared:
        ...     made = layer(torch.ones(1, 24, 32, 32))
        >>> made.sum().backward()
        >>> layer.weight.grad[0, 0, 1].tolist()
        [960.0, 1024.0, 960.0]
    """
    return _Prepared(dtype) if device.type == "cpu" else nullcontext()


class _Prepared(TorchFunctionMode):
    """Sees all calls of PyTorch's functions.

    Where maps end, PyTorch's gradients lie in memory with the channels first, and so would all before them,
    beside values whose channels are last. It is up to thirty times slower at two that differ.
    """

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
            return _Mean.apply(args[0])  # type: ignore[no-untyped-call]
        if func is Tensor.flatten and args[0].dim() == 4:
            args = (_ChannelsLast.apply(args[0]), *args[1:])  # type: ignore[no-untyped-call]
        elif func is functional.conv2d and len(args) == _ARGUMENTS:
            if self.dtype == torch.float32:
                args = without_stride(args)
            elif (made := convolved(args)) is not None:
                return made
        return func(*args, **(kwargs or {}))


class _Mean(torch.autograd.Function):
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
    """Nothing but the order in which the gradient lies in memory."""

    @staticmethod
    def forward(ctx, maps: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG004
        return maps.view_as(maps)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG004
        return gradient.contiguous(memory_format=torch.channels_last)
