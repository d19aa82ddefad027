"""Base classes of the optimizer tables."""

from abc import abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import Field

from convsmith.training.tables import Fraction, Rate, Table

if TYPE_CHECKING:
    import torch
    from torch import nn


class OptimizerTable(Table):
    """The `[train.optimizer]` table: hyperparameters, and how to build the optimizer from them."""

    lr: Rate = Field(default=0.01, description="learning rate, the peak where a schedule rises to it")
    weight_decay: Fraction = Field(default=0.0, description="weight decay, as the optimiser defines it")

    @abstractmethod
    def build(self, net: "nn.Module") -> "list[torch.optim.Optimizer]":
        """Return the optimizers that together update all trainable parameters of a net."""


class ElementwiseOptimizer(OptimizerTable):
    """An optimizer that updates each element of a parameter independently."""

    norm_bias_lr_factor: Rate = Field(
        default=1.0, description="learning rate of the norms' biases, as a factor on that of the rest"
    )

    def build(self, net: "nn.Module") -> "list[torch.optim.Optimizer]":
        return [self.build_for(net)]

    def build_for(
        self, net: "nn.Module", exclude: "Collection[nn.Parameter]" = ()
    ) -> "torch.optim.Optimizer":
        """Return the optimizer of all trainable parameters except those in `exclude`."""
        from torch import nn

        norms = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm  # noqa: SLF001 - the common base
        norm_biases = {
            module.bias for module in net.modules() if isinstance(module, norms) and module.bias is not None
        }
        excluded = set(exclude)
        parameters = [each for each in net.parameters() if each.requires_grad and each not in excluded]
        groups = [
            {"params": [each for each in parameters if each not in norm_biases], "lr": self.lr},
            {
                "params": [each for each in parameters if each in norm_biases],
                "lr": self.lr * self.norm_bias_lr_factor,
            },
        ]
        return self.create([group for group in groups if group["params"]])

    @abstractmethod
    def create(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        """Return PyTorch's optimizer for parameter groups that have their learning rates."""
