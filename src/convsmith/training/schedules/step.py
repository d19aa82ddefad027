"""The step schedule."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import number
from convsmith.training.schedules.base import ScheduleSource, ScheduleTable
from convsmith.training.tables import Rate

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


class Step(ScheduleTable):
    """Multiply the learning rate by `factor` every `every` epochs."""

    unit: ClassVar[Literal["step", "epoch"]] = "epoch"

    name: Literal["step"] = "step"
    every: int = Field(default=10, ge=1, description="epochs between two changes")
    factor: Rate = 0.1

    def build(
        self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int
    ) -> "lr_scheduler.LRScheduler":
        from torch.optim import lr_scheduler

        del epochs, steps_per_epoch
        return lr_scheduler.StepLR(optimizer, self.every, self.factor)

    def source(self) -> ScheduleSource:
        factor = number(self.factor)
        return ScheduleSource(
            body=f'''\
"""Multiply the learning rate by {factor} every {self.every} epochs."""
return lr_scheduler.StepLR(optimizer, {self.every}, {factor})'''
        )

    def describe(self) -> str:
        period = "epoch" if self.every == 1 else f"{self.every} epochs"
        return f"times {number(self.factor)} after every {period}"
