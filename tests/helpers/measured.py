"""Numbers of a module measured by running it, as a reference for the arithmetic and the tracing."""

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

# Central positions to measure: with upsampling the receptive field varies by position.
POSITIONS = 8


def parameters(net: nn.Module) -> int:
    """Count the values of all parameters, shared ones once."""
    return sum(each.numel() for each in {id(each): each for each in net.parameters()}.values())


def macs(net: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Count the multiply-accumulates for one image by PyTorch's counter, which counts each as two."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net.eval()(torch.zeros(1, *input_shape))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def receptive_field(
    net: nn.Module,
    features: Callable[[nn.Module, Tensor], Tensor],
    *,
    channels: int = 3,
    size: int = 176,
    other: int = 32,
) -> tuple[int, int]:
    """Measure the receptive field of the last map by gradients: the maximum of the central positions.

    Args:
        net: A copy of it with positive weights is measured, so that no two paths cancel.
        features: Returns the last map before the head of a net, for images.
        channels: The channels of the images.
        size: Their size along the measured axis, more than the receptive field.
        other: Their size along the other axis.
    """
    changed = positive(net)
    height, width = (
        _extent(lambda images: features(changed, images), channels, (size, other), axis) for axis in (2, 3)
    )
    return height, width


def covered_pixels(net: nn.Module, image: Tensor, position: tuple[int, int] | None = None) -> Tensor:
    """Return the pixels `(H, W)` on which one position of the last map depends, or any without a position.

    Max pooling is replaced by average pooling, whose gradient reaches all pixels of the window.
    """
    image = image.double().requires_grad_()
    with patch.object(functional, "max_pool2d", _average):
        maps = net(image)
    outputs = maps if position is None else maps[:, :, position[0], position[1]]
    (gradient,) = torch.autograd.grad(outputs.sum(), image)
    return gradient.abs().sum((0, 1)) > 0


def _average(maps: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Tensor:
    return functional.avg_pool2d(maps, kernel, stride or None, padding)


def positive(net: nn.Module) -> nn.Module:
    """Return a copy with positive weights, in evaluation mode and double precision."""
    generator = torch.Generator().manual_seed(0)
    positive = copy.deepcopy(net).double().eval()
    for name, parameter in positive.named_parameters():
        parameter.requires_grad_(False)
        if parameter.dim() > 1:
            # About a mean over the inputs: values keep their magnitude, so bounded activations pass them.
            weights = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5
            parameter.copy_(weights / max(1, parameter[0].numel()))
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return positive


def _extent(features: Callable[[Tensor], Tensor], channels: int, sizes: tuple[int, int], axis: int) -> int:
    """Return the maximum extent of the receptive field of the central positions along one axis."""
    size, other = sizes
    shape = [4, channels, other, other]
    shape[axis] = size
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images.requires_grad_()
    maps = features(images)
    across = [each for each in range(4) if each != axis]
    # Sum over images, channels and the other axis, so that every path through a max pooling is taken.
    lines = maps.sum(dim=across)
    first = (len(lines) - POSITIONS) // 2
    largest = 0
    for position in range(max(first, 0), min(first + POSITIONS, len(lines))):
        (gradient,) = torch.autograd.grad(lines[position], images, retain_graph=True)
        pixels = gradient.abs().sum(dim=across).nonzero().flatten()
        begin, end = int(pixels.min()), int(pixels.max())
        assert begin > 0, "the image is too small"
        assert end < size - 1, "the image is too small"
        largest = max(largest, end - begin + 1)
    return largest
