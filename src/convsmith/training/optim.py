"""Optimisers and learning-rate schedules, all of them PyTorch's own."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import lr_scheduler

from convsmith.training.config import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    OneCycle,
    Optimizer,
    Plateau,
    RMSprop,
    Schedule,
    Step,
)


def make_optimizer(config: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    match config:
        case SGD():
            return torch.optim.SGD(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
            )
        case RMSprop():
            return torch.optim.RMSprop(
                parameters,
                lr=config.lr,
                alpha=config.alpha,
                momentum=config.momentum,
                eps=config.eps,
                weight_decay=config.weight_decay,
            )
        case Adam():
            adam = torch.optim.AdamW if isinstance(config, AdamW) else torch.optim.Adam
            return adam(
                parameters,
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                weight_decay=config.weight_decay,
            )


class LearningRate:
    """A schedule that is told of every step and every epoch, and acts on those it lives by."""

    def __init__(
        self, config: Schedule, optimizer: torch.optim.Optimizer, *, epochs: int, steps_per_epoch: int
    ) -> None:
        self.optimizer = optimizer
        self.plateau: lr_scheduler.ReduceLROnPlateau | None = None
        self.by_epoch: lr_scheduler.LRScheduler | None = None
        self.by_step: lr_scheduler.LRScheduler | None = None
        num_steps = epochs * steps_per_epoch
        match config:
            case Constant():
                pass
            case Step():
                self.by_epoch = lr_scheduler.StepLR(optimizer, config.every, config.factor)
            case Plateau():
                # PyTorch's patience counts the epochs that are forgiven; ours the one that is not, too.
                self.plateau = lr_scheduler.ReduceLROnPlateau(
                    optimizer, mode="max", factor=config.factor, patience=config.patience - 1, threshold=0.0
                )
            case OneCycle():
                self.by_step = lr_scheduler.LambdaLR(
                    optimizer, lambda step: one_cycle(config, step / num_steps)
                )
            case Cosine():
                warmup = round(config.warmup_epochs * steps_per_epoch)
                self.by_step = lr_scheduler.LambdaLR(
                    optimizer, lambda step: cosine(config, step, warmup, num_steps)
                )

    @property
    def value(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def step_done(self) -> None:
        if self.by_step is not None:
            self.by_step.step()

    def epoch_done(self, accuracy: float) -> None:
        """`accuracy` is the one that a plateau schedule monitors; the others ignore it."""
        if self.by_epoch is not None:
            self.by_epoch.step()
        if self.plateau is not None:
            self.plateau.step(accuracy)


def one_cycle(config: OneCycle, progress: float) -> float:
    """The share of the peak learning rate at `progress` from 0 to 1.

    Two half cosines, after Smith and Topin, "Super-Convergence", arXiv 1708.07120.

    >>> [round(one_cycle(OneCycle(warmup=0.5), progress), 3) for progress in (0, 0.25, 0.5, 0.75, 1)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < config.warmup:
        return _half_cosine(config.start_factor, 1.0, progress / config.warmup)
    end = config.start_factor * config.end_factor
    return _half_cosine(1.0, end, (progress - config.warmup) / max(1 - config.warmup, 1e-12))


def cosine(config: Cosine, step: int, warmup: int, num_steps: int) -> float:
    """The share of the peak learning rate at a step, after Loshchilov and Hutter, arXiv 1608.03983."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return _half_cosine(1.0, config.end_factor, (step - warmup) / max(num_steps - warmup, 1))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
