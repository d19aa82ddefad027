"""Adam and AdamW."""

from typing import TYPE_CHECKING, Any, Literal

from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction, Rate

if TYPE_CHECKING:
    import torch


class Adam(ElementwiseOptimizer):
    """Adam; the defaults are PyTorch's."""

    name: Literal["adam"] = "adam"
    lr: Rate = 0.001
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Rate = 1e-8

    def create(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        import torch

        optimizer = torch.optim.AdamW if isinstance(self, AdamW) else torch.optim.Adam
        return optimizer(
            groups,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay; the defaults are PyTorch's."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: Fraction = 0.01
