"""Averaged weights and lookahead."""

from functools import partial

import pytest
import torch
from torch import nn

from convsmith.data.normalize import Normalizer
from convsmith.net.module import build
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.rng import new_generator
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import (
    BatchMetrics,
    evaluate_split,
)
from convsmith.training.trainer import Trainer, fit
from helpers.trained import Recorder, normalize_all, trained


def test_the_averaged_weights_are_evaluated_and_saved() -> None:
    overrides = ["train.epochs=2", "model.net=C4 C8:s2 / G F10", "train.precision=fp32", "train.ema=0.9"]
    recipe = load("digits", overrides)
    session = Session.load(recipe)
    raw: list[torch.Tensor] = []
    net = build(session.analysis.plan, generator=new_generator(0))
    name = "block1.conv2.weight"

    class Steps(Callback):
        def on_batch_end(self, batch: BatchMetrics) -> None:
            raw.append(net.state_dict()[name].clone())

    recorder = Recorder()
    fit(net, session.data, recipe.train, recipe.augment, seed=0, callbacks=[Steps(), recorder])
    average = raw[0]
    for weights in raw[1:]:
        average = 0.9 * average + 0.1 * weights
    assert torch.allclose(net.state_dict()[name], average, atol=1e-6)
    assert torch.equal(net.state_dict()[name], recorder.weights[-1][name])
    # The statistics are those of the averaged net, over all images without augmentation.
    with torch.no_grad():
        images = normalize_all(session.data.train, Normalizer.of(session.data, torch.device("cpu")))
        first = net.get_submodule("block1.conv1")(images)
    measured = net.state_dict()["block1.norm1.running_mean"]
    assert torch.allclose(measured, first.mean((0, 2, 3)), atol=0.02)
    again = evaluate_split(
        net, session.data.test, Normalizer.of(session.data, torch.device("cpu")), torch.float32
    )
    assert again == recorder.epochs[-1].test


@pytest.mark.parametrize("overrides", [["train.optimizer=sgd"], ["train.optimizer=muon", "train.ema=0.9"]])
def test_lookahead_against_the_algorithm(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights before each update and at the end equal a reference implementation."""
    net = "model.net=C4 C8:s2 / G F10"
    recipe = load("digits", ["train.epochs=1", net, "train.lookahead={k=4, alpha=0.3}", *overrides])
    session = Session.load(recipe)
    trained_net = build(session.analysis.plan, generator=new_generator(0))
    begun: list[list[torch.Tensor]] = []
    fast: list[list[torch.Tensor]] = []

    def weights() -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in trained_net.parameters()]

    real = Trainer.update_weights

    def update(self: Trainer) -> None:
        begun.append(weights())
        real(self)
        fast.append(weights())

    monkeypatch.setattr(Trainer, "update_weights", update)
    slow = weights()
    fit(trained_net, session.data, recipe.train, recipe.augment, seed=0)
    assert len(fast) > 12
    average: list[torch.Tensor] = []
    for step, reached in enumerate(fast, start=1):
        went_on = reached
        if step % 4 == 0:
            slow = [a + 0.3 * (b - a) for a, b in zip(slow, reached, strict=True)]
            went_on = slow
        average = [0.9 * a + 0.1 * b for a, b in zip(average or went_on, went_on, strict=True)]
        if step < len(fast):
            assert all(map(partial(torch.allclose, atol=1e-6), begun[step], went_on)), step
    kept = average if recipe.train.ema else slow
    assert all(map(partial(torch.allclose, atol=1e-6), weights(), kept))
    # The statistics are those of the saved weights, on images without augmentation.
    with torch.no_grad():
        images = normalize_all(session.data.train, Normalizer.of(session.data, torch.device("cpu")))
        first = trained_net.get_submodule("block1.conv1")(images)
    measured = trained_net.state_dict()["block1.norm1.running_mean"]
    assert torch.allclose(measured, first.mean((0, 2, 3)), atol=0.02)


def test_lookahead_with_alpha_1_has_no_effect() -> None:
    base = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "train.precision=fp32"]
    plain, _ = trained(load("digits", base))
    all_the_way, _ = trained(load("digits", [*base, "train.lookahead={k=1, alpha=1.0}"]))
    for mine, theirs in zip(plain.parameters(), all_the_way.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_statistics_of_the_average_are_measured_without_dropout() -> None:
    overrides = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "model.dropout=0.4", "train.ema=0.9"]
    recipe = load("digits", [*overrides, "model.dropout_at=layer"])
    session = Session.load(recipe)
    net = build(session.analysis.plan, generator=new_generator(0))
    fit(net, session.data, recipe.train, recipe.augment, seed=0)
    seen: list[torch.Tensor] = []
    net.get_submodule("block1.conv2").register_forward_hook(lambda *called: seen.append(called[2]))
    images = normalize_all(session.data.train, Normalizer.of(session.data, torch.device("cpu")))
    net.eval()(images)
    measured = net.get_buffer("block1.norm2.running_var")
    # Batches of 500 and 198 images have equal weight.
    assert torch.allclose(measured, seen[0].var((0, 2, 3)), rtol=0.05)
    assert [each.p for each in net.modules() if isinstance(each, nn.Dropout)] == [0.4] * 2
