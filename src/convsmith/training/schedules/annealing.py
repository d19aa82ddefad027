"""The cosine and linear schedules: a linear warm-up, then annealing over the rest of the training."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from convsmith.training.schedules.base import ScheduleTable
from convsmith.training.tables import Fraction

if TYPE_CHECKING:
    import torch
    from torch.optim import lr_scheduler


class AnnealingTable(ScheduleTable):
    """A linear warm-up, then annealing to a share of the peak."""

    unit: ClassVar[Literal["step", "epoch"]] = "step"

    warmup_epochs: float = Field(default=0.0, ge=0, le=1000, description="epochs of linear rise before it")
    end_factor: Fraction = Field(default=0.0, description="last learning rate, as a share of the peak")

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

    @abstractmethod
    def anneal(self, progress: float) -> float:
        """Return a value from 1 to 0 as `progress` goes from 0 to 1."""


class Cosine(AnnealingTable):
    """Down by a half cosine over the whole training, after a linear warm-up where one is asked for.

    Loshchilov and Hutter, "SGDR", arXiv 1608.03983.
    """

    name: Literal["cosine"] = "cosine"

    def anneal(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


class Linear(AnnealingTable):
    """Down in a straight line over the whole training, after a linear warm-up where one is asked for."""

    name: Literal["linear"] = "linear"

    def anneal(self, progress: float) -> float:
        return 1 - progress
