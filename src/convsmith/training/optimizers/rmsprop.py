"""RMSprop."""

from typing import TYPE_CHECKING, Any, Literal

from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction, Rate

if TYPE_CHECKING:
    import torch


class RMSprop(ElementwiseOptimizer):
    """RMSprop; the defaults are PyTorch's."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Fraction = 0.99
    momentum: Fraction = 0.0
    eps: Rate = 1e-8

    def create(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.RMSprop(
            groups,
            alpha=self.alpha,
            momentum=self.momentum,
            eps=self.eps,
            weight_decay=self.weight_decay,
            foreach=True,
        )
