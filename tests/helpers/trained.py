"""Trainings that tests look at."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from convsmith.net.module import build
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.system.rng import new_generator
from convsmith.training.callbacks import Callback, EpochStart
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.profiler import Profile
from convsmith.training.trainer import Trainer, fit


class Recorder(Callback):
    def __init__(self) -> None:
        self.starts: list[EpochStart] = []
        self.batches: list[BatchMetrics] = []
        self.epochs: list[EpochMetrics] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_epoch_start(self, start: EpochStart) -> None:
        self.starts.append(start)

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.batches.append(batch)

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.epochs.append(metrics)
        self.weights.append({name: tensor.clone() for name, tensor in net.state_dict().items()})


def reading_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers read what a step found after the next one, as they do on CUDA."""
    monkeypatch.setattr(Trainer, "max_pending_steps", 1)


def trained(
    recipe: Recipe, profile: Profile | None = None, callbacks: Sequence[Callback] = ()
) -> tuple[nn.Module, Recorder]:
    """A net trained by a recipe, and what an observer saw."""
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(recipe.seed))
    recorder = Recorder()
    history = fit(
        net,
        prepared.data,
        prepared.resolved_recipe.train,
        recipe.augment,
        seed=recipe.seed,
        callbacks=[recorder, *callbacks],
        profile=profile,
    )
    assert list(history) == recorder.epochs
    return net, recorder
