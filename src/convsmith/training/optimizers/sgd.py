"""Stochastic gradient descent."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from convsmith.codegen import number
from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction

if TYPE_CHECKING:
    import torch


class SGD(ElementwiseOptimizer):
    """Stochastic gradient descent with momentum."""

    title: ClassVar[str] = "SGD"

    name: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def _check_nesterov(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def create(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(
            groups,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def source(self) -> tuple[str, list[str]]:
        arguments = [f"lr={number(self.lr)}"]
        if self.momentum:
            arguments.append(f"momentum={number(self.momentum)}")
        if self.nesterov:
            arguments.append("nesterov=True")
        if self.weight_decay:
            arguments.append(f"weight_decay={number(self.weight_decay)}")
        return "torch.optim.SGD", arguments

    def settings(self) -> list[str]:
        kind = "Nesterov momentum" if self.nesterov else "momentum"
        return [f"{kind} {number(self.momentum)}"] if self.momentum else []
