"""The plateau schedule."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import number
from convsmith.text import plural
from convsmith.training.schedules.base import ScheduleSource, ScheduleTable
from convsmith.training.tables import Fraction

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler

    from convsmith.training.metrics import EpochMetrics


class Plateau(ScheduleTable):
    """Multiply the learning rate by `factor` if the accuracy has not improved for `patience` epochs."""

    unit: ClassVar[Literal["step", "epoch"]] = "epoch"

    name: Literal["plateau"] = "plateau"
    factor: Fraction = 0.1
    patience: int = Field(default=5, ge=1, description="epochs without a better accuracy")
    monitor: Literal["validation", "test"] = Field(
        default="validation",
        description='split of the monitored accuracy; "test" lets the test set influence the training',
    )

    def build(
        self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int
    ) -> "lr_scheduler.LRScheduler":
        from torch.optim import lr_scheduler

        del epochs, steps_per_epoch
        # PyTorch's patience is the number of epochs to ignore; ours includes the one that is not ignored.
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=self.factor, patience=self.patience - 1, threshold=0.0
        )

    def source(self) -> ScheduleSource:
        factor = number(self.factor)
        return ScheduleSource(
            body=f'''\
"""Multiply the learning rate by {factor} after {plural(self.patience, "epoch")} without a better accuracy."""
# PyTorch's patience is the number of epochs to ignore.
return lr_scheduler.ReduceLROnPlateau(
    optimizer, mode="max", factor={factor}, patience={self.patience - 1}, threshold=0.0
)''',
            step_argument="val_correct" if self.monitor == "validation" else "correct",
        )

    def describe(self) -> str:
        return (
            f"times {number(self.factor)} after {plural(self.patience, 'epoch')} without a better "
            f"{self.monitor} accuracy"
        )

    def note(self) -> str:
        """Return whether the test set influences the training."""
        if self.monitor == "test":
            return (
                "the schedule saw the test set: it lowers the learning rate by test accuracy, so the test "
                "figures are optimistic"
            )
        return "the schedule goes by a validation split of the training set; it does not see the test set"

    def accuracy(self, metrics: "EpochMetrics") -> float:
        """Return the monitored accuracy; the next best split stands in for one that does not exist."""
        test = metrics.test if self.monitor == "test" else None
        return (test or metrics.validation or metrics.train).accuracy
