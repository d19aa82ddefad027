"""Base class of the schedule tables."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from convsmith.training.tables import Table

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


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
