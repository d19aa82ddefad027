"""Weight standardisation: the layers learn weights of mean 0 and fixed size, and end as plain layers.

A net without normalisation layers trains far better so: its activations keep their scale and its gradients
are centred. The net itself does not change: no parameter is added, and what is kept are ordinary weights.

Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
arXiv 1903.10520; the gain is that of Brock et al., "Characterizing signal propagation to close the
performance gap in unnormalized ResNets", arXiv 2101.08692.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# A ReLU of a standard normal has this standard deviation's inverse; the others' are within a few percent.
GAIN = math.sqrt(2 / (1 - 1 / math.pi))


class Standardized(nn.Module):
    """Brings the weights `(out, ...)` of each output channel to mean 0 and Euclidean norm `GAIN`."""

    def forward(self, weight: Tensor) -> Tensor:
        inputs = tuple(range(1, weight.dim()))
        variance, mean = torch.var_mean(weight, dim=inputs, keepdim=True, correction=0)
        return (weight - mean) * (GAIN * torch.rsqrt(variance * weight[0].numel() + 1e-12))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is learned starts as the layer's initial weights."""
        return weight


def standardize(net: nn.Module) -> None:
    """Make all layers with weights but the last, the classifier, learn standardised weights.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        >>> standardize(net)
        >>> round(net[0].weight[0].norm().item(), 4), abs(net[0].weight.mean().item()) < 1e-6
        (1.7129, True)
    """
    weighted = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for module in weighted[:-1]:
        parametrize.register_parametrization(module, "weight", Standardized())


def remove_standardization(net: nn.Module) -> None:
    """Turn a net's standardised layers, if it has any, into plain ones that compute the same, in place."""
    for module in net.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def copy_effective_weights(net: nn.Module, plain: nn.Module) -> None:
    """Copy the weights that a standardized net computes with into a net of the same layers without it."""
    with torch.no_grad():
        for name, tensor in plain.state_dict().items():
            path, _, attribute = name.rpartition(".")
            tensor.copy_(getattr(net.get_submodule(path), attribute))
