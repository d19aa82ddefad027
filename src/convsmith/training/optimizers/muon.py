"""Muon for the filters of convolutions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import number
from convsmith.training.optimizers.base import Learning, OptimizerTable, parameter_groups
from convsmith.training.optimizers.elementwise import Elementwise
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.tables import Fraction, Rate

if TYPE_CHECKING:
    import torch
    from torch import nn


class Muon(OptimizerTable):
    """Momentum with orthogonalized steps, for the filters of ungrouped convolutions.

    `rest` is the optimizer of all other parameters. Jordan et al., "Muon: An optimizer for
    hidden layers in neural networks", https://kellerjordan.github.io/posts/muon.
    """

    title: ClassVar[str] = "Muon"

    name: Literal["muon"] = "muon"
    lr: Rate = 0.02
    momentum: Fraction = 0.95
    nesterov: bool = True
    ns_steps: int = Field(default=5, ge=1, le=20, description="Newton-Schulz iterations per step")
    rest: Annotated[Elementwise, Field(discriminator="name")] = SGD(lr=0.1, nesterov=True)

    def build(
        self,
        net: "nn.Module",
        classifier: "nn.Module | None" = None,
        learning: "Mapping[nn.Parameter, Learning] | None" = None,
    ) -> "list[torch.optim.Optimizer]":
        from convsmith.training.optimizers.filter_muon import FilterMuon, orthogonalizable_filters

        filters = orthogonalizable_filters(net, classifier)
        rest = self.rest.build_for(net, exclude=filters, learning=learning)
        if not filters:
            return rest
        muon = FilterMuon(
            parameter_groups(filters, self.lr, learning),
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            ns_steps=self.ns_steps,
        )
        return [muon, *rest]

    def source(self) -> tuple[str, list[str]]:
        """Return the ejected project's class for the filters, and its keyword arguments."""
        return "FilterMuon", [
            f"lr={number(self.lr)}",
            f"momentum={number(self.momentum)}",
            f"nesterov={self.nesterov}",
            f"weight_decay={number(self.weight_decay)}",
            f"ns_steps={self.ns_steps}",
        ]

    def describe(self) -> str:
        return (
            f"Muon for the filters of ordinary convolutions (learning rate {number(self.lr)}, "
            f"momentum {number(self.momentum)}, weight decay {number(self.weight_decay)}), "
            f"{self.rest.describe()} for the rest"
        )
