"""Grad-CAM: where in an image a net finds a class, by the gradients of the last map that is large enough."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Smaller maps do not show a place in the image.
LEAST_MAP = 5


def gradient_maps(net: nn.Module, images_NCHW: Tensor, classes_N: Tensor) -> Tensor | None:  # noqa: N803
    """Compute class-activation maps by gradients (Grad-CAM, arXiv 1610.02391), for any net.

    The map is the last output of a layer with at least 5x5 positions. A position counts by its channels, each
    weighted by the mean gradient of the logit of the class.

    Args:
        net: From images to one value for each class, in evaluation mode; it is not modified.
        images_NCHW: `(N, C, H, W)`, normalised.
        classes_N: `(N,)`, the class whose map is computed for each image.

    Returns:
        `(N, H, W)`, from 0 to 1 for each image; None if no map is large enough.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        >>> gradient_maps(net.eval(), torch.randn(2, 1, 8, 8), torch.tensor([3, 1])).shape
        torch.Size([2, 8, 8])
    """
    maps: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Any) -> None:
        is_map = isinstance(output, Tensor) and output.dim() == 4
        if is_map and output.requires_grad and min(output.shape[2:]) >= LEAST_MAP:
            maps.append(output)

    hooks = [each.register_forward_hook(keep) for each in net.modules() if not list(each.children())]
    try:
        with torch.enable_grad():
            logits = net(images_NCHW.clone().requires_grad_())
            if not maps:
                return None
            score = logits.gather(1, classes_N[:, None]).sum()
            (gradients,) = torch.autograd.grad(score, maps[-1])
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradients.mean((2, 3), keepdim=True)
    heat = (weights * maps[-1]).sum(1, keepdim=True).relu().detach().float()
    heat = functional.interpolate(heat, images_NCHW.shape[2:], mode="bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
