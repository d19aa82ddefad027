"""Stochastic gradient descent."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from convsmith.training.optimizers.base import ElementwiseOptimizer
from convsmith.training.tables import Fraction

if TYPE_CHECKING:
    import torch


class SGD(ElementwiseOptimizer):
    """Stochastic gradient descent with momentum."""

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
