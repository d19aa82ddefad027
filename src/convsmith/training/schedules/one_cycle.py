"""The one-cycle schedule."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import number
from convsmith.text import short_percent
from convsmith.training.schedules.base import ScheduleSource, ScheduleTable
from convsmith.training.tables import Rate, Share

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


class OneCycle(ScheduleTable):
    """Raise the learning rate to its peak, then lower it to nearly zero, by half cosines.

    Smith and Topin, "Super-Convergence", arXiv 1708.07120.
    """

    unit: ClassVar[Literal["step", "epoch"]] = "step"

    name: Literal["one-cycle"] = "one-cycle"
    warmup: Share = Field(default=0.3, description="share of the steps with a rising learning rate")
    start_factor: Rate = Field(default=0.04, le=1, description="first learning rate as a share of the peak")
    end_factor: Rate = Field(default=1e-4, le=1, description="last learning rate as a share of the first")

    def build(
        self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int
    ) -> "lr_scheduler.LRScheduler":
        from torch.optim import lr_scheduler

        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=epochs * steps_per_epoch,
            pct_start=self.warmup,
            div_factor=1 / self.start_factor,
            final_div_factor=1 / self.end_factor,
            cycle_momentum=False,
        )

    def source(self) -> ScheduleSource:
        return ScheduleSource(
            body=f'''\
"""Raise the learning rate to its peak, then lower it to nearly zero (arXiv 1708.07120)."""
return lr_scheduler.OneCycleLR(
    optimizer,
    max_lr=[group["lr"] for group in optimizer.param_groups],
    total_steps=epochs * steps_per_epoch,
    pct_start={number(self.warmup)},
    div_factor={number(1 / self.start_factor)},
    final_div_factor={number(1 / self.end_factor)},
    cycle_momentum=False,
)'''
        )

    def describe(self) -> str:
        return f"one cycle, up for {short_percent(self.warmup)} of the steps and down for the rest"
