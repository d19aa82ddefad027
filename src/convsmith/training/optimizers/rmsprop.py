"""RMSprop."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from convsmith.codegen import number
from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction, Rate

if TYPE_CHECKING:
    import torch


class RMSprop(ElementwiseOptimizer):
    """RMSprop; the defaults are PyTorch's."""

    title: ClassVar[str] = "RMSprop"

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

    def source(self) -> tuple[str, list[str]]:
        arguments = [f"lr={number(self.lr)}", f"alpha={number(self.alpha)}"]
        if self.momentum:
            arguments.append(f"momentum={number(self.momentum)}")
        if self.eps != 1e-8:
            arguments.append(f"eps={number(self.eps)}")
        if self.weight_decay:
            arguments.append(f"weight_decay={number(self.weight_decay)}")
        return "torch.optim.RMSprop", arguments

    def settings(self) -> list[str]:
        return [f"momentum {number(self.momentum)}"] if self.momentum else []
