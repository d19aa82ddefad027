"""Trainings that tests look at."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from convsmith import runtime
from convsmith.arch.build import build
from convsmith.recipe.schema import Recipe
from convsmith.training.loop import BatchFacts, EpochFacts, EpochStart, Observer, Trainer, fit
from convsmith.training.profile import Profile
from convsmith.workflow.prepare import prepare


class Recorder(Observer):
    def __init__(self) -> None:
        self.starts: list[EpochStart] = []
        self.batches: list[BatchFacts] = []
        self.epochs: list[EpochFacts] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def epoch_started(self, start: EpochStart) -> None:
        self.starts.append(start)

    def batch_done(self, batch: BatchFacts) -> None:
        self.batches.append(batch)

    def epoch_done(self, facts: EpochFacts, net: nn.Module) -> None:
        self.epochs.append(facts)
        self.weights.append({name: tensor.clone() for name, tensor in net.state_dict().items()})


def reading_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers read what a step found after the next one, as they do on CUDA."""
    monkeypatch.setattr(Trainer, "steps_unread", 1)


def trained(
    recipe: Recipe, profile: Profile | None = None, observers: Sequence[Observer] = ()
) -> tuple[nn.Module, Recorder]:
    """A net trained by a recipe, and what an observer saw."""
    prepared = prepare(recipe)
    net = build(prepared.analysis.plan, generator=runtime.generator(recipe.seed))
    recorder = Recorder()
    history = fit(
        net,
        prepared.data,
        prepared.recipe.train,
        recipe.augment,
        seed=recipe.seed,
        observers=[recorder, *observers],
        profile=profile,
    )
    assert list(history) == recorder.epochs
    return net, recorder
