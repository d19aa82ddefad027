"""Averaged weights and lookahead."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.averages import (
    SlowWeights,
    WeightAverage,
    layers_with_statistics,
    set_statistics,
    statistics_batch_size,
)
from convsmith.training.callbacks import Callback
from convsmith.training.config import Lookahead
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
    net = session.build_net()
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
    trained_net = session.build_net()
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


def _normed_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8)
    )


@pytest.mark.parametrize("sizes", [[40], [20, 20], [37, 3], [39, 1], [1, 39], [20, 13, 7], [2] * 20])
def test_each_image_has_the_same_weight_in_the_statistics(sizes: list[int]) -> None:
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    net = _normed_net()
    set_statistics(net, torch.split(images, sizes), layers_with_statistics(net, images))
    with torch.no_grad():
        maps = net[0](images).double()
    means = maps.mean((0, 2, 3))
    # The mean over all images at once, and the mean of the variances within the batches.
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean.double(), means, rtol=1e-5, atol=1e-7)
    within = [len(part) / 40 * part.var((0, 2, 3)) for part in torch.split(maps, sizes)]
    assert torch.allclose(norm.running_var.double(), torch.stack(within).sum(0), rtol=1e-5)
    assert (norm.momentum, net.training) == (0.1, True)


def test_equal_batches_give_the_statistics_of_pytorch() -> None:
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    ours, pytorch = _normed_net(), _normed_net()
    set_statistics(ours, torch.split(images, 8), layers_with_statistics(ours, images))
    update_bn(torch.split(images, 8), pytorch)
    for name, tensor in pytorch.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


@pytest.mark.parametrize("num_images", [2, 499, 500, 501, 502, 600, 999, 1000, 1001, 1501])
@pytest.mark.parametrize("lookahead", [False, True])
def test_the_statistics_are_those_of_all_images_at_once(num_images: int, lookahead: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, 8, 8, 1), dtype=np.uint8)
    # The last image is far from the others.
    pixels[-1] = 255
    split = Split(images=pixels, labels=np.zeros(num_images, np.int64))
    normalize = Normalizer(mean=torch.full((1, 1, 1, 1), 0.5), std=torch.full((1, 1, 1, 1), 0.3))
    net = _normed_net()
    weights = SlowWeights(net, Lookahead()) if lookahead else WeightAverage(net, 0.9)
    weights.measure_statistics(net, split, normalize, torch.float32)
    images = normalize_all(split, normalize)
    set_statistics(net, [images], layers_with_statistics(net, images))
    for measured, expected in zip(weights.net.buffers(), net.buffers(), strict=True):
        if measured.is_floating_point():
            assert torch.allclose(measured, expected, rtol=0.01, atol=0.003)


def test_the_statistics_need_no_batch_of_one_image() -> None:
    sizes = {statistics_batch_size(count): count for count in range(1, 4001)}
    assert max(sizes) == 500
    lasts = {(count - 1) % statistics_batch_size(count) + 1 for count in range(501, 4001)}
    assert min(lasts) > 200


@pytest.mark.parametrize("average", ["train.ema=0.9", "train.lookahead={k=2}"])
@pytest.mark.parametrize(
    "more", [["train.batch_size=1197"], ["train.batch_size=9", "train.microbatch_size=3"]]
)
def test_a_last_image_on_maps_of_one_pixel_is_trained(average: str, more: list[str]) -> None:
    net = "model.net=C4 M8 P8 / F10"
    _, recorder = trained(load("digits", [net, "train.epochs=1", "data.validation=0.1", average, *more]))
    assert recorder.epochs[0].validation is not None
    assert np.isfinite(recorder.epochs[0].train.loss)


def test_statistics_of_the_average_are_measured_without_dropout() -> None:
    overrides = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "model.dropout=0.4", "train.ema=0.9"]
    recipe = load("digits", [*overrides, "model.dropout_at=layer"])
    session = Session.load(recipe)
    net = session.build_net()
    fit(net, session.data, recipe.train, recipe.augment, seed=0)
    seen: list[torch.Tensor] = []
    net.get_submodule("block1.conv2").register_forward_hook(lambda *called: seen.append(called[2]))
    images = normalize_all(session.data.train, Normalizer.of(session.data, torch.device("cpu")))
    net.eval()(images)
    measured = net.get_buffer("block1.norm2.running_var")
    assert torch.allclose(measured, seen[0].var((0, 2, 3)), rtol=0.02)
    assert [each.p for each in net.modules() if isinstance(each, nn.Dropout)] == [0.4] * 2
