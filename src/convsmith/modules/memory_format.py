"""Whether a module can compute with the channels last in memory, which is faster."""

import torch
from torch import nn

from convsmith.system.memory_format import set_memory_format
from convsmith.tracing.copies import copy_module
from convsmith.tracing.isolation import preserved_state


def needs_channels_first(module: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether a module runs with the channels first in memory alone, because of `x.view(...)` for example.

    Args:
        module: On the CPU; it is unchanged.
        image_shape: `(C, H, W)`.

    Example:
        >>> layers = nn.Conv2d(3, 4, 3), nn.Flatten()
        >>> needs_channels_first(nn.Sequential(*layers), (3, 8, 8))
        False
        >>> class Net(nn.Sequential):
        ...     def forward(self, images):
        ...         return self[0](images).view(-1, 144)
        >>> needs_channels_first(Net(*layers), (3, 8, 8))
        True
    """
    images = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
    with preserved_state():
        return not _runs(module, images, torch.channels_last) and _runs(
            module, images, torch.contiguous_format
        )


def _runs(module: nn.Module, images: torch.Tensor, memory_format: torch.memory_format) -> bool:
    """Whether the passes of evaluation and training succeed."""
    images = images.to(memory_format=memory_format)
    try:
        net = copy_module(module)
        set_memory_format(net, memory_format)
        net.eval()
        with torch.no_grad():
            net(images)
        net.train()
        outputs = net(images)
        if isinstance(outputs, torch.Tensor) and outputs.requires_grad:
            torch.autograd.backward(outputs.float().sum())
    except Exception:  # noqa: BLE001 - the probe names what else fails
        return False
    return True
