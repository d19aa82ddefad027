"""The receptive field measured: which pixels have a gradient, with weights that cannot cancel."""

import copy
import warnings
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

Ends = tuple[tuple[int, int], ...]


def positive(module: nn.Module) -> nn.Module:
    """A copy whose values stay near 1 for an image of ones: weights are means, norms do nothing."""
    result = copy.deepcopy(module).eval().double()
    with torch.no_grad():
        for weight in result.parameters():
            weight.fill_(1 / max(1, weight[0].numel()) if weight.dim() > 1 else 0.1)
    for child in result.modules():
        if isinstance(child, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.ones_(child.weight)
        for name, kid in child.named_children():
            # The gradient of a mean's difference is 0 where all values are the same.
            if isinstance(kid, nn.LayerNorm):
                setattr(child, name, nn.Identity())
    return result


def seen(features: nn.Module, channels: int, size: int, position: tuple[int, ...] | None = None) -> Ends:
    """First and last pixel along each axis that a position of the last map depends on; its middle if none."""
    image = torch.ones(1, channels, size, size, dtype=torch.double, requires_grad=True)
    with patch.object(functional, "max_pool2d", _average), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output: Tensor = features(image)
    row, column = position or tuple(count // 2 for count in output.shape[2:])
    (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), image)
    found = gradient[0].abs().sum(0)
    ends = [torch.nonzero(found.sum(1 - axis)).ravel() for axis in range(2)]
    return tuple((int(axis[0]), int(axis[-1])) for axis in ends)


def measured(features: nn.Module, channels: int, size: int, *, around: int = 4) -> tuple[int, ...]:
    """The receptive field along each axis: the most of some positions in the middle of the map."""
    net = positive(features)
    with torch.no_grad():
        shape = net(torch.ones(1, channels, size, size, dtype=torch.double)).shape[2:]
    ends = [
        seen(net, channels, size, tuple(count // 2 + step for count in shape))
        for step in range(-(around // 2), around // 2)
    ]
    assert all(first > 0 and last < size - 1 for axes in ends for first, last in axes), (
        "the image is too small"
    )
    return tuple(max(axes[axis][1] - axes[axis][0] + 1 for axes in ends) for axis in range(2))


def _average(maps: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Tensor:
    """In the place of a maximum, whose gradient goes to one pixel of its window."""
    return functional.avg_pool2d(maps, kernel, stride or None, padding)
