"""The learning rate of a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import lr_scheduler

from convsmith.training.metrics import EpochMetrics
from convsmith.training.optimizers.base import FACTOR
from convsmith.training.schedules import Schedule
from convsmith.training.schedules.plateau import Plateau


class LearningRate:
    """Applies a schedule to every parameter group of all optimizers, each from its own learning rate.

    Attributes:
        epochs: The number of epochs that the schedule is planned for.
    """

    def __init__(
        self,
        config: Schedule,
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        epochs: int,
        steps_per_epoch: int,
    ) -> None:
        self.config, self.optimizers, self.steps_per_epoch = config, optimizers, steps_per_epoch
        self._settings = [[_settings(group) for group in each.param_groups] for each in optimizers]
        self.plan(epochs)

    def plan(self, epochs: int) -> None:
        """Plan the schedule for a number of epochs, from its beginning; `replay` advances it."""
        self.epochs = epochs
        for optimizer, settings in zip(self.optimizers, self._settings, strict=True):
            for group, saved in zip(optimizer.param_groups, settings, strict=True):
                # Schedulers add entries of their own to the groups.
                params = group["params"]
                group.clear()
                group.update({**saved, "params": params})
        schedulers = [
            self.config.build(optimizer, epochs=epochs, steps_per_epoch=self.steps_per_epoch)
            for optimizer in self.optimizers
        ]
        self.schedulers = [scheduler for scheduler in schedulers if scheduler is not None]

    @property
    def lr(self) -> float:
        """Learning rate of the first group of the first optimizer, without a factor of its layers."""
        group = self.optimizers[0].param_groups[0]
        return float(group["lr"]) / float(group.get(FACTOR, 1.0))

    def step(self) -> None:
        """Advance the schedule after a step."""
        if self.config.unit == "step":
            for scheduler in self.schedulers:
                scheduler.step()

    def step_epoch(self, metrics: EpochMetrics) -> None:
        """Advance the schedule after an epoch."""
        if self.config.unit != "epoch":
            return
        for scheduler in self.schedulers:
            if isinstance(self.config, Plateau):
                assert isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
                scheduler.step(self.config.accuracy(metrics))
            else:
                scheduler.step()

    def replay(self, steps: int, history: Sequence[EpochMetrics]) -> None:
        """Advance a new schedule to its state after a number of steps and the epochs of a history.

        Schedules by epoch multiply the learning rate, so every epoch is replayed. Those by step are functions
        of the step, so the last step suffices.
        """
        # PyTorch warns if a scheduler steps before its optimizer; `_step_count` avoids that.
        if self.config.unit == "step" and steps:
            for scheduler in self.schedulers:
                scheduler.last_epoch = steps - 1
                scheduler._step_count = steps + 1  # noqa: SLF001
                scheduler.step()
        for metrics in history:
            for scheduler in self.schedulers:
                if self.config.unit == "epoch" and not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                    scheduler._step_count += 1  # noqa: SLF001
            self.step_epoch(metrics)


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
