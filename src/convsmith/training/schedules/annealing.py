"""The cosine and linear schedules: a linear warm-up, then annealing over the rest of the training."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.codegen import number
from convsmith.text import short_percent
from convsmith.training.schedules.base import ScheduleSource, ScheduleTable
from convsmith.training.tables import Fraction

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


class AnnealingTable(ScheduleTable):
    """A linear warm-up, then annealing to a share of the peak.

    Attributes:
        curve: The shape of the annealing, in words.
        expression: Source text of `anneal`, as a function of `done`.
    """

    unit: ClassVar[Literal["step", "epoch"]] = "step"
    curve: ClassVar[str]
    expression: ClassVar[str]

    warmup_epochs: float = Field(default=0.0, ge=0, le=1000, description="epochs of linear warm-up")
    end_factor: Fraction = Field(default=0.0, description="last learning rate as a share of the peak")

    def build(
        self, optimizer: "torch.optim.Optimizer", *, epochs: int, steps_per_epoch: int
    ) -> "lr_scheduler.LRScheduler":
        from torch.optim import lr_scheduler

        warmup = round(self.warmup_epochs * steps_per_epoch)
        total = epochs * steps_per_epoch
        return lr_scheduler.LambdaLR(optimizer, lambda step: self.factor(step, warmup, total))

    def factor(self, step: int, warmup: int, total: int) -> float:
        """Return the share of the peak learning rate at a step, for the given numbers of steps."""
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(total - warmup, 1), 1.0)
        return self.end_factor + (1 - self.end_factor) * self.anneal(progress)

    def source(self) -> ScheduleSource:
        end = "# The last learning rate, as a share of the peak.\nEND_FACTOR = "
        result = f"return {self.expression}"
        if self.end_factor:
            result = f"left = {self.expression}\n    return END_FACTOR + (1 - END_FACTOR) * left"
        return ScheduleSource(
            body=f'''\
"""Raise the learning rate in a straight line, then lower it by {self.curve}."""
warmup, total = round(WARMUP_EPOCHS * steps_per_epoch), epochs * steps_per_epoch

def share(step: int) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    {result}

return lr_scheduler.LambdaLR(optimizer, share)''',
            modules=("math",) if "math." in self.expression else (),
            constants=f"WARMUP_EPOCHS = {number(self.warmup_epochs)}"
            + (f"\n{end}{number(self.end_factor)}" if self.end_factor else ""),
        )

    def describe(self) -> str:
        warmup = self.warmup_epochs
        rise = f"up for {number(warmup)} epoch{'s' if warmup > 1 else ''}, then " if warmup else ""
        return f"{rise}down by {self.curve} to {short_percent(self.end_factor)} of the peak"

    @abstractmethod
    def anneal(self, progress: float) -> float:
        """Return a value from 1 to 0 as `progress` goes from 0 to 1."""


class Cosine(AnnealingTable):
    """Half a cosine, after a linear warm-up if `warmup_epochs` is set.

    Loshchilov and Hutter, "SGDR", arXiv 1608.03983.
    """

    curve: ClassVar[str] = "half a cosine"
    expression: ClassVar[str] = "(1 + math.cos(math.pi * done)) / 2"

    name: Literal["cosine"] = "cosine"

    def anneal(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


class Linear(AnnealingTable):
    """A straight line, after a linear warm-up if `warmup_epochs` is set."""

    curve: ClassVar[str] = "a straight line"
    expression: ClassVar[str] = "1 - done"

    name: Literal["linear"] = "linear"

    def anneal(self, progress: float) -> float:
        return 1 - progress
