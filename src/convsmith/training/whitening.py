"""Whitening by the first convolution: its outputs on training images are uncorrelated, with equal variance.

The filters are fixed, which saves the backward pass at the highest resolution. Each filter is used with both
signs, because an activation follows that passes only one. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
Single GPU", arXiv 2404.00498, after Page, "How to Train Your ResNet" (2018-2020).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.errors import RecipeError

# Number of images, enough for the covariances of a patch of a few dozen values, and the batch size.
IMAGES, _BATCH_SIZE = 4_000, 50
# Limits the filters of directions with hardly any variance, which is noise.
EPSILON = 5e-4


def whiten_first_layer(net: nn.Module, images_NCHW: Tensor) -> None:  # noqa: N803 - shape suffix
    """Set the first convolution of a net to whitening filters, and freeze it.

    Args:
        net: Its first convolution must be an ungrouped one whose input are the images.
        images_NCHW: Normalized training images `(N, C, H, W)` float32.

    Raises:
        RecipeError: The layer has more filters than a patch has directions, counted with both signs.

    Example:
        >>> conv = nn.Conv2d(1, 4, 2, bias=False)
        >>> whiten_first_layer(conv, torch.rand(8, 1, 6, 6))
        >>> bool(torch.equal(conv.weight[:2], -conv.weight[2:])), conv.weight.requires_grad
        (True, False)
    """
    conv = first_convolution(net)
    filters = whitening_filters(images_NCHW, (conv.kernel_size[0], conv.kernel_size[1]))
    pairs = conv.out_channels // 2
    if conv.groups != 1 or conv.out_channels % 2 or pairs > len(filters):
        raise RecipeError(
            f"{conv.out_channels} filters, expected an even number of at most {2 * len(filters)}, both signs "
            f"of the directions of a patch of {tuple(filters.shape[1:])}",
            where="train.whitening and the first layer of model.net",
            fix=f"give the first convolution {2 * len(filters)} channels, or a larger kernel",
        )
    with torch.no_grad():
        conv.weight.copy_(torch.cat([filters[:pairs], -filters[:pairs]]))
        if conv.bias is not None:
            conv.bias.zero_()
    conv.requires_grad_(requires_grad=False)


def first_convolution(net: nn.Module) -> nn.Conv2d:
    """Return the first convolution of a net in the notation, whose input are the images."""
    return next(module for module in net.modules() if isinstance(module, nn.Conv2d))


def whitening_filters(images_NCHW: Tensor, kernel: tuple[int, int]) -> Tensor:  # noqa: N803 - shape suffix
    """Return whitening filters `(C * height * width, C, height, width)`, by falling variance."""
    variances, directions = torch.linalg.eigh(_covariance(images_NCHW, kernel))
    filters = directions / torch.sqrt(variances + EPSILON)
    ordered: Tensor = filters.T.flip(0).float()
    return ordered.reshape(-1, images_NCHW.shape[1], *kernel)


def _covariance(images_NCHW: Tensor, kernel: tuple[int, int]) -> Tensor:  # noqa: N803 - shape suffix
    """Return the covariance of all patches, float64 on the CPU; computed in small batches to save memory."""
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for images in torch.split(images_NCHW, _BATCH_SIZE):
        patches = functional.unfold(images, kernel)
        count += patches.shape[0] * patches.shape[2]
        total = total + patches.sum((0, 2)).cpu().double()
        squares = squares + (patches @ patches.mT).sum(0).cpu().double()
    return (squares - torch.outer(total, total) / count) / (count - 1)
