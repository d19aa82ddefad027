"""Change the selected images of a batch in place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# From images `(N, C, H, W)` uint8 and their parameters to new images of the same shape.
Change = Callable[[Tensor, Any], Tensor]


def change_selected(images: Tensor, selected: Tensor, parameters: tuple[Tensor, ...], change: Change) -> None:
    """Replace the selected images by changed ones.

    Args:
        images: `(N, C, H, W)` uint8, channels last in memory.
        selected: `(N,)` bool.
        parameters: Each tensor is `(N, ...)`; those of the selected images are passed on.
        change: Changes images one by one: the result for an image depends on no other image.

    Example:
        >>> images = torch.zeros(3, 1, 1, 2, dtype=torch.uint8)
        >>> selected, values = torch.tensor([True, False, True]), torch.tensor([1, 2, 3], dtype=torch.uint8)
        >>> change_selected(images, selected, (values,), lambda some, own: some + own[0].view(-1, 1, 1, 1))
        >>> images.flatten().tolist()
        [1, 1, 0, 0, 3, 3]
    """
    if images.device.type != "cpu":
        # Selecting images would wait for the device to count them.
        parameters = _map(parameters, lambda values: values.to(images.device, non_blocking=True))
        selected = selected.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
        images.copy_(torch.where(selected, change(images, parameters), images))
        return
    indices = selected.nonzero().squeeze(1)
    if len(indices) == len(images):
        images.copy_(change(images, parameters))
    elif len(indices):
        images_NHWC = images.permute(0, 2, 3, 1)  # noqa: N806 - shape suffix
        some = images_NHWC.index_select(0, indices).permute(0, 3, 1, 2)
        parameters = _map(parameters, lambda values: values[indices])
        changed = change(some, parameters).permute(0, 2, 3, 1).contiguous()
        _words(images_NHWC).index_copy_(0, indices, _words(changed))


def _map(parameters: tuple[Tensor, ...], function: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    """Apply a function to each tensor of a (named) tuple."""
    values = map(function, parameters)
    return type(parameters)(*values) if hasattr(parameters, "_fields") else tuple(values)


def _words(images_NHWC: Tensor) -> Tensor:  # noqa: N803 - shape suffix
    """Return the same memory as `(N, numbers)`, in numbers of eight bytes if possible: they copy faster."""
    flat = images_NHWC.flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat
