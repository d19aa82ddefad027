"""Adam and AdamW."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from convsmith.codegen import number
from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction, Rate

if TYPE_CHECKING:
    import torch


class Adam(ElementwiseOptimizer):
    """Adam; the defaults are PyTorch's."""

    title: ClassVar[str] = "Adam"

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

    def source(self) -> tuple[str, list[str]]:
        arguments = [f"lr={number(self.lr)}"]
        if (self.beta1, self.beta2) != (0.9, 0.999):
            arguments.append(f"betas=({number(self.beta1)}, {number(self.beta2)})")
        if self.eps != 1e-8:
            arguments.append(f"eps={number(self.eps)}")
        # Always, since the defaults of the two classes differ.
        arguments.append(f"weight_decay={number(self.weight_decay)}")
        return f"torch.optim.{self.title}", arguments

    def settings(self) -> list[str]:
        if (self.beta1, self.beta2) == (0.9, 0.999):
            return []
        return [f"betas {number(self.beta1)} and {number(self.beta2)}"]


class AdamW(Adam):
    """Adam with decoupled weight decay; the defaults are PyTorch's."""

    title: ClassVar[str] = "AdamW"

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: Fraction = 0.01
