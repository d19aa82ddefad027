"""Trainings for tests."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
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


def delay_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make trainers read the metrics of a step after the next step, as on CUDA."""
    monkeypatch.setattr(Trainer, "max_pending_steps", 1)


def trained(
    recipe: Recipe, profile: Profile | None = None, callbacks: Sequence[Callback] = ()
) -> tuple[nn.Module, Recorder]:
    """Train a net by a recipe; return it with a recorder of the training."""
    session = Session.load(recipe)
    net = session.build_net()
    recorder = Recorder()
    history = fit(
        net,
        session.data,
        session.resolved_recipe.train,
        recipe.augment,
        seed=recipe.seed,
        callbacks=[recorder, *callbacks],
        profile=profile,
    )
    assert list(history) == recorder.epochs
    return net, recorder


def normalize_all(split: Split, normalize: Normalizer) -> torch.Tensor:
    """Return all images of a split, normalized: `(N, C, H, W)` float32."""
    return next(normalized_batches(split.images, normalize, len(split)))
