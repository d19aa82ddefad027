"""Base classes of the optimizer tables."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from convsmith.codegen import call, number
from convsmith.training.tables import Fraction, Rate, Table

if TYPE_CHECKING:
    import torch
    from torch import nn


# The key of a parameter group for its factor on the learning rate of the recipe; absent if that is 1.
FACTOR = "lr_factor"


class Learning(NamedTuple):
    """How a parameter learns.

    Attributes:
        factor: On the learning rate of the recipe.
        is_late: Whether it is frozen at first. It is in a group of its own, since PyTorch's fused SGD begins
            the momentum of all parameters of a group at once.
    """

    factor: float = 1.0
    is_late: bool = False


def parameter_groups(
    parameters: "Sequence[nn.Parameter]", lr: float, learning: "Mapping[nn.Parameter, Learning] | None" = None
) -> list[dict[str, Any]]:
    """Return a group for each way of learning, the highest factor first; none without parameters."""
    groups: dict[Learning, list[nn.Parameter]] = {}
    for each in parameters:
        groups.setdefault((learning or {}).get(each, Learning()), []).append(each)
    return [
        {"params": groups[key], "lr": lr}
        if key.factor == 1
        else {"params": groups[key], "lr": lr * key.factor, FACTOR: key.factor}
        for key in sorted(groups, key=lambda key: (key.is_late, -key.factor))
    ]


class OptimizerTable(Table):
    """The `[train.optimizer]` table: hyperparameters, and how to build the optimizer from them.

    Attributes:
        title: Name in sentences.
    """

    title: ClassVar[str]

    lr: Rate = Field(default=0.01, description="learning rate; the peak of schedules with a warm-up")
    weight_decay: Fraction = Field(default=0.0, description="weight decay, as defined by the optimizer")

    @abstractmethod
    def build(
        self,
        net: "nn.Module",
        classifier: "nn.Module | None" = None,
        learning: "Mapping[nn.Parameter, Learning] | None" = None,
    ) -> "list[torch.optim.Optimizer]":
        """Return the optimizers that together update all trainable parameters of a net.

        A group of parameters with a factor on its learning rate has it as `FACTOR` besides.

        Args:
            net: The net.
            classifier: Its last layer that runs; by default the last one of the net.
            learning: How parameters learn that have a factor on their learning rate, or are frozen at first.
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
        learning: "Mapping[nn.Parameter, Learning] | None" = None,
    ) -> "list[torch.optim.Optimizer]":
        return self.build_for(net, learning=learning)

    def build_for(
        self,
        net: "nn.Module",
        exclude: "Collection[nn.Parameter]" = (),
        learning: "Mapping[nn.Parameter, Learning] | None" = None,
    ) -> "list[torch.optim.Optimizer]":
        """Return the optimizer of all trainable parameters but those in `exclude`; none if none are left."""
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
        biases = [each for each in parameters if each in norm_biases]
        groups = parameter_groups([each for each in parameters if each not in norm_biases], self.lr, learning)
        groups += parameter_groups(biases, self.lr * self.norm_bias_lr_factor, learning)
        return [self.create(groups)] if groups else []

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
