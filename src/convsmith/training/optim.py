"""Optimisers and learning-rate schedules: PyTorch's own, chosen by name."""

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
                # Smith and Topin, "Super-Convergence", arXiv 1708.07120.
                self.by_step = lr_scheduler.OneCycleLR(
                    optimizer,
                    max_lr=optimizer.param_groups[0]["lr"],
                    total_steps=num_steps,
                    pct_start=config.warmup,
                    div_factor=1 / config.start_factor,
                    final_div_factor=1 / config.end_factor,
                    cycle_momentum=False,
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


def cosine(config: Cosine, step: int, warmup: int, num_steps: int) -> float:
    """The share of the peak learning rate at a step, after Loshchilov and Hutter, arXiv 1608.03983."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(num_steps - warmup, 1), 1.0)
    return config.end_factor + (1 - config.end_factor) * (1 + math.cos(math.pi * progress)) / 2
