"""Base classes of the optimizer tables."""

from abc import abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.training.tables import Fraction, Rate, Table

if TYPE_CHECKING:
    import torch
    from torch import nn


class OptimizerTable(Table):
    """The `[train.optimizer]` table: hyperparameters, and how to build the optimizer from them.

    Attributes:
        title: Name in sentences.
    """

    title: ClassVar[str]

    lr: Rate = Field(default=0.01, description="learning rate; the peak of schedules with a warm-up")
    weight_decay: Fraction = Field(default=0.0, description="weight decay, as defined by the optimizer")

    @abstractmethod
    def build(self, net: "nn.Module", classifier: "nn.Module | None" = None) -> "list[torch.optim.Optimizer]":
        """Return the optimizers that together update all trainable parameters of a net.

        Args:
            net: The net.
            classifier: Its last layer that runs; by default the last one of the net.
        """

    @abstractmethod
    def source(self) -> tuple[str, list[str]]:
        """Return PyTorch's class and its keyword arguments as source text."""

    @abstractmethod
    def describe(self) -> str:
        """Describe optimizer and hyperparameters as part of a sentence."""

    def source_call(self, parameters: str, *, indent: int, before: str = "", after: str = "") -> str:
        """Return the call that creates the optimizer as source text; see `convsmith.codegen.call`.

        Args:
            parameters: Expression for the parameters.
            indent: Number of spaces before the line on which the call begins.
            before: Text on that line before the call.
            after: Text after the call.
        """
        function, arguments = self.source()
        return call(function, [parameters, *arguments], indent=indent, before=before, after=after)


class ElementwiseOptimizer(OptimizerTable):
    """An optimizer that updates each element of a parameter independently."""

    norm_bias_lr_factor: Rate = Field(
        default=1.0, description="factor on the learning rate for the biases of normalization layers"
    )

    def build(
        self,
        net: "nn.Module",
        classifier: "nn.Module | None" = None,  # noqa: ARG002 - Muon needs it
    ) -> "list[torch.optim.Optimizer]":
        return [self.build_for(net)]

    def build_for(
        self, net: "nn.Module", exclude: "Collection[nn.Parameter]" = ()
    ) -> "torch.optim.Optimizer":
        """Return the optimizer of all trainable parameters except those in `exclude`."""
        from torch import nn

        from convsmith.tracing.members import named_parameters

        norms = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm  # noqa: SLF001 - the common base
        norm_biases = {
            module.bias for module in net.modules() if isinstance(module, norms) and module.bias is not None
        }
        excluded = set(exclude)
        parameters = [
            each for each in named_parameters(net).values() if each.requires_grad and each not in excluded
        ]
        groups = [
            {"params": [each for each in parameters if each not in norm_biases], "lr": self.lr},
            {
                "params": [each for each in parameters if each in norm_biases],
                "lr": self.lr * self.norm_bias_lr_factor,
            },
        ]
        return self.create([group for group in groups if group["params"]])

    def describe(self) -> str:
        settings = [f"learning rate {number(self.lr)}", *self.settings()]
        if self.weight_decay:
            settings.append(f"weight decay {number(self.weight_decay)}")
        if self.norm_bias_lr_factor != 1:
            settings.append(f"{number(self.norm_bias_lr_factor)} times that for the norms' biases")
        return f"{self.title} ({', '.join(settings)})"

    @abstractmethod
    def settings(self) -> list[str]:
        """Describe the hyperparameters that only this optimizer has, as far as they differ from defaults."""

    @abstractmethod
    def create(self, groups: list[dict[str, Any]]) -> "torch.optim.Optimizer":
        """Return PyTorch's optimizer for parameter groups that have their learning rates."""
