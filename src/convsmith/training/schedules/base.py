"""Base class of the schedule tables."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from convsmith.training.tables import Table

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


@dataclass(frozen=True, kw_only=True)
class ScheduleSource:
    """A schedule as Python source text.

    Attributes:
        body: Docstring and statements of a function of `optimizer`, `epochs` and `steps_per_epoch` that
            returns a scheduler; not indented.
        modules: Modules of the standard library that the text uses.
        constants: Module-level constants that the body uses.
        step_argument: Argument of the scheduler's `step`: empty, or the number of correctly classified
            images of a split.
    """

    body: str
    modules: tuple[str, ...] = ()
    constants: str = ""
    step_argument: Literal["", "correct", "val_correct"] = ""


class ScheduleTable(Table):
    """The `[train.schedule]` table: hyperparameters, and how to build the scheduler from them.

    Attributes:
        unit: Whether the scheduler steps after each step or after each epoch.
    """

    unit: ClassVar[Literal["step", "epoch"]]

    @abstractmethod
    def build(
        self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int
    ) -> "lr_scheduler.LRScheduler | None":
        """Return PyTorch's scheduler; None if the learning rate is constant."""

    @abstractmethod
    def source(self) -> ScheduleSource | None:
        """Return the schedule as source text; None if the learning rate is constant."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the course of the learning rate as part of a sentence."""
