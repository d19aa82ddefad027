"""Numbers of a module found by running it: what the library's arithmetic and tracing are held against."""

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

# Central positions that are looked at: where maps are enlarged, what a position sees depends on where it is.
POSITIONS = 8


def parameters(net: nn.Module) -> int:
    """Values of all parameters, each counted once however often it is used."""
    return sum(each.numel() for each in {id(each): each for each in net.parameters()}.values())


def macs(net: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates for one image, by PyTorch's own counter, which counts each as two operations."""
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
    """Height and width of what a position of the last map sees, the most of the central ones, by gradients.

    Args:
        net: Is copied; the copy gets positive weights, so that no two paths cancel.
        features: Gives the last map before the head of a net for images.
        channels: Of the images.
        size: Of the images along the axis that is measured; more than the receptive field.
        other: Of the images along the other axis.
    """
    changed = positive(net)
    height, width = (
        _extent(lambda images: features(changed, images), channels, (size, other), axis) for axis in (2, 3)
    )
    return height, width


def pixels_seen(net: nn.Module, image: Tensor, position: tuple[int, int] | None = None) -> Tensor:
    """Which pixels `(H, W)` one position of the last map depends on, or any of it where no position is given.

    A maximum passes its gradient to one pixel of its window; an average in its place shows them all.
    """
    image = image.double().requires_grad_()
    with patch.object(functional, "max_pool2d", _average):
        maps = net(image)
    chosen = maps if position is None else maps[:, :, position[0], position[1]]
    (gradient,) = torch.autograd.grad(chosen.sum(), image)
    return gradient.abs().sum((0, 1)) > 0


def _average(maps: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Tensor:
    return functional.avg_pool2d(maps, kernel, stride or None, padding)


def positive(net: nn.Module) -> nn.Module:
    """A copy with positive weights, in evaluation mode and double precision."""
    generator = torch.Generator().manual_seed(0)
    positive = copy.deepcopy(net).double().eval()
    for name, parameter in positive.named_parameters():
        parameter.requires_grad_(False)
        if parameter.dim() > 1:
            # Near a mean over the inputs: values stay about as large as the images', which bounded
            # activations pass on.
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5
            parameter.copy_(drawn / max(1, parameter[0].numel()))
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return positive


def _extent(features: Callable[[Tensor], Tensor], channels: int, sizes: tuple[int, int], axis: int) -> int:
    """What the central positions see along one axis, at the most."""
    size, other = sizes
    shape = [4, channels, other, other]
    shape[axis] = size
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images.requires_grad_()
    maps = features(images)
    across = [each for each in range(4) if each != axis]
    # Over images, channels and the other axis: one of them takes each way through a max pooling.
    lines = maps.sum(dim=across)
    first = (len(lines) - POSITIONS) // 2
    largest = 0
    for position in range(max(first, 0), min(first + POSITIONS, len(lines))):
        (gradient,) = torch.autograd.grad(lines[position], images, retain_graph=True)
        seen = gradient.abs().sum(dim=across).nonzero().flatten()
        begin, end = int(seen.min()), int(seen.max())
        assert begin > 0, "the image is too small to measure it"
        assert end < size - 1, "the image is too small to measure it"
        largest = max(largest, end - begin + 1)
    return largest
