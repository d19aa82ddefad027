"""Weight standardization: the weights of a layer have mean 0 and a fixed norm during training.

Nets without normalization layers train far better with it: activations keep their scale, and gradients are
centered. It adds no parameters, and the saved weights are those of ordinary layers.

Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
arXiv 1903.10520; the gain is that of Brock et al., "Characterizing signal propagation to close the
performance gap in unnormalized ResNets", arXiv 2101.08692.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsmith.modules.state import copy_buffers
from convsmith.tracing.members import named_parameters
from convsmith.training.classifier_layer import hidden_layers

# The inverse standard deviation of the ReLU of a standard normal; other activations differ by a few percent.
GAIN = math.sqrt(2 / (1 - 1 / math.pi))


class Standardization(nn.Module):
    """Parametrization with mean 0 and Euclidean norm `GAIN` for the weights of each output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        inputs = tuple(range(1, weight.dim()))
        variance, mean = torch.var_mean(weight, dim=inputs, keepdim=True, correction=0)
        return (weight - mean) * (GAIN * torch.rsqrt(variance * weight[0].numel() + 1e-12))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the initial value of the learned tensor: the initial weights of the layer."""
        return weight


def standardize(
    net: nn.Module, classifier: nn.Module | None = None, frozen: Collection[nn.Module] = ()
) -> None:
    """Standardize the weights of all convolutions and linear layers except the classifier.

    A layer whose weights are no plain parameter, such as one with spectral norm, stays as it is.

    Args:
        net: Changed in place.
        classifier: The last layer that runs; by default the last one of the net.
        frozen: Layers that stay as they are, because their weights must not change.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        >>> standardize(net)
        >>> round(net[0].weight[0].norm().item(), 4), abs(net[0].weight.mean().item()) < 1e-6
        (1.7129, True)
    """
    for module in hidden_layers(net, classifier):
        if "weight" in module._parameters and module not in frozen:  # noqa: SLF001 - a parametrized layer has a property
            parametrize.register_parametrization(module, "weight", Standardization())


def changed_layers(net: nn.Module, names: Collection[str]) -> list[str]:
    """Return the hidden layers among some names whose weights standardization would change.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        >>> before = changed_layers(net, ["0", "2"])
        >>> standardize(net)
        >>> remove_standardization(net)
        >>> before, changed_layers(net, ["0", "2"])
        (['0'], [])
    """
    hidden, standard = {*hidden_layers(net)}, Standardization()
    return [
        name
        for name in names
        if (layer := net.get_submodule(name)) in hidden
        and not torch.allclose(standard(layer.weight), layer.weight, rtol=1e-3, atol=1e-4)
    ]


def remove_standardization(net: nn.Module) -> None:
    """Replace the standardized layers of a net by plain ones with the same outputs, in place."""
    for module in net.modules():
        if _is_standardized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _is_standardized(module: nn.Module) -> bool:
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, nn.ModuleDict) or "weight" not in parametrizations:
        return False
    return any(isinstance(each, Standardization) for each in parametrizations["weight"].children())


def copy_effective_weights(net: nn.Module, plain: nn.Module) -> None:
    """Copy the weights that a standardized net computes with into a net of the same layers without it."""
    with torch.no_grad():
        for path, tensor in named_parameters(plain).items():
            owner, _, attribute = path.rpartition(".")
            tensor.copy_(getattr(net.get_submodule(owner), attribute))
    copy_buffers(net, plain)
