"""The L1 penalty on weights: a multiple of the sum of their absolute values, as a term of the loss.

Tibshirani, "Regression Shrinkage and Selection via the Lasso", Journal of the Royal Statistical Society B 58
(1996), 267-288. As there, intercepts (biases) are not penalised, and neither are the scales and shifts of
norms. The subgradient at 0 is 0, as that of PyTorch's `abs`: weights become small, few become exactly 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from convsmith.errors import RecipeError
from convsmith.tracing.members import named_modules


class L1Penalty:
    """Adds the gradient of an L1 penalty to that of a batch.

    The penalty depends on the weights alone, so it is added once a batch, for any number of microbatches.

    Args:
        net: Its convolutions and linear layers are penalised. A layer whose weights are no plain parameter,
            such as one with spectral norm, is not, and neither are frozen weights.
        weight: Factor of the sum of absolute weights; 0 or more.

    Raises:
        RecipeError: `weight` is not 0, and the net has no such layer.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> net.weight.data, net.bias.data = torch.tensor([[3.0, -0.5]]), torch.tensor([7.0])
        >>> penalty = L1Penalty(net, 0.1)
        >>> penalty.value().item()
        0.3499999940395355
        >>> net.weight.grad, net.bias.grad = torch.zeros(1, 2), torch.zeros(1)
        >>> penalty.add_gradients()
        >>> net.weight.grad, net.bias.grad
        (tensor([[ 0.1000, -0.1000]]), tensor([0.]))
    """

    def __init__(self, net: nn.Module, weight: float) -> None:
        self.weight = weight
        self.parameters: Sequence[nn.Parameter] = penalized_weights(net) if weight else ()
        if weight and not self.parameters:
            raise RecipeError(
                "the net has no convolution and no linear layer with trainable weights",
                where="train.l1",
                fix="leave the penalty out: train.l1=0",
            )

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the penalty, a scalar."""
        sums = [each.abs().sum() for each in self.parameters]
        return self.weight * torch.stack(sums).sum() if sums else torch.zeros(())

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Add the subgradient of the penalty to the gradients of the weights."""
        for each in self.parameters:
            if each.grad is not None:
                # Into a new tensor: autograd may return one gradient for two weights.
                each.grad = torch.add(each.grad, each.sign(), alpha=self.weight)


def penalized_weights(net: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights of all convolutions and linear layers, each once.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4))
        >>> [tuple(each.shape) for each in penalized_weights(net)]
        [(2, 1, 3, 3), (4, 8)]
    """
    layers = [each for each in named_modules(net).values() if isinstance(each, _ConvNd | nn.Linear)]
    weights = (each._parameters.get("weight") for each in layers)  # noqa: SLF001 - a parametrization is a property
    return list(dict.fromkeys(each for each in weights if each is not None and each.requires_grad))
