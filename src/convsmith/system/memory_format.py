"""The order of the channels in memory: last, which is fastest, unless a net needs them first.

`x.view(-1, 400)` fails on a map whose channels are last in memory, and on such weights of a convolution.
"""

from typing import Any

import torch
from torch import Tensor, nn


def use_channels_first(net: nn.Module) -> None:
    """Make a net compute with the channels first in memory, in place, wherever `to_device` moves it.

    The names of its parameters do not change.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Unflatten(1, (2, 2)), nn.Flatten())
        >>> use_channels_first(net)
        >>> images = torch.zeros(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        >>> to_device(net, torch.device("cpu"))(images).shape
        torch.Size([1, 16])
    """
    net.register_forward_pre_hook(_channels_first)


def to_device(net: nn.Module, device: torch.device) -> nn.Module:
    """Move a net to a device, in place, with its channels last in memory unless it needs them first."""
    net.to(device)
    is_first = any(_channels_first in module._forward_pre_hooks.values() for module in net.modules())  # noqa: SLF001 - there is no other way
    set_memory_format(net, torch.contiguous_format if is_first else torch.channels_last)
    return net


def set_memory_format(net: nn.Module, memory_format: torch.memory_format) -> None:
    """Set the memory format of all tensors of four dimensions, in place; `Module.to` fails on five."""
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=memory_format)


def is_channels_last(maps_NCHW: Tensor) -> bool:  # noqa: N803 - shape suffix
    """Whether the channels are last in memory, which those of single positions are too."""
    return maps_NCHW.is_contiguous(memory_format=torch.channels_last)


def _channels_first(_net: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not `contiguous()`, which keeps the strides of images of one channel, and layers follow the strides.
    first = torch.contiguous_format
    return tuple(each.to(memory_format=first) if isinstance(each, Tensor) else each for each in inputs)
