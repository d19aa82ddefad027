"""The loop and its parts: schedules, scores, seeds, and the stop before a step that would do harm."""

import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.data.pipeline import BatchSpec
from convsmith.errors import DivergedError, RecipeError
from convsmith.net.module import build
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.system import device
from convsmith.system.device import choose_device, choose_precision, dtype_of, threads_for
from convsmith.system.rng import new_generator
from convsmith.training.batches import num_batches, shuffled_batches
from convsmith.training.callbacks import Callback
from convsmith.training.gradients import BatchResult, GradientWorkers
from convsmith.training.learning_rate import LearningRate
from convsmith.training.metrics import (
    BatchMetrics,
    EpochMetrics,
    SplitMetrics,
    compute_logits,
    evaluate_split,
    split_metrics,
)
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules import Schedule
from convsmith.training.schedules.annealing import Cosine, Linear
from convsmith.training.schedules.constant import Constant
from convsmith.training.schedules.one_cycle import OneCycle
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.schedules.step import Step
from convsmith.training.trainer import Trainer, fit
from helpers.trained import Recorder, reading_late, trained


def epoch_metrics(accuracy: float) -> EpochMetrics:
    """Metrics of an epoch with this accuracy, to two digits."""
    train = SplitMetrics(loss=0.0, correct=round(100 * accuracy), total=100)
    return EpochMetrics(
        epoch=1, lr=1.0, train=train, validation=None, test=None, train_seconds=0, evaluation_seconds=0
    )


def rates(schedule: Schedule, accuracies: Sequence[float], steps: int = 2) -> list[float]:
    """The learning rate at the start of each epoch, and after the last."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rate = LearningRate(schedule, [optimizer], epochs=len(accuracies), steps_per_epoch=steps)
    seen = [rate.lr]
    for accuracy in accuracies:
        for _ in range(steps):
            optimizer.step()
            rate.step()
        rate.step_epoch(epoch_metrics(accuracy))
        seen.append(rate.lr)
    return seen


def test_step_schedule_is_the_course_log() -> None:
    assert rates(Step(every=2, factor=0.1), [0.0] * 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_lowers_after_so_many_epochs_without_improvement() -> None:
    accuracies = [0.5, 0.6, 0.6, 0.59, 0.58, 0.7, 0.6, 0.6, 0.6, 0.8]
    expected = [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(Plateau(patience=3, factor=0.5), accuracies) == pytest.approx(expected)


def test_plateau_of_five_is_the_course_log() -> None:
    # Best after epoch 1; the fifth epoch without a better one lowers the rate for the one that follows.
    assert rates(Plateau(), [0.5, *[0.4] * 6])[5:8] == pytest.approx([1, 0.1, 0.1])


def test_constant_schedule() -> None:
    assert rates(Constant(), [0.1, 0.2]) == [1.0, 1.0, 1.0]


def test_one_cycle_rises_to_the_rate_and_falls_to_nearly_nothing() -> None:
    ours = rates(OneCycle(warmup=0.25, start_factor=0.04, end_factor=1e-3), [0.0] * 41, steps=1)[:41]
    rise, fall = 41 * 0.25 - 1, 41 - 41 * 0.25
    expected = [
        1 + (0.04 - 1) * (1 + math.cos(math.pi * step / rise)) / 2
        if step <= rise
        else 4e-5 + (1 - 4e-5) * (1 + math.cos(math.pi * (step - rise) / fall)) / 2
        for step in range(41)
    ]
    assert ours == pytest.approx(expected)
    assert ours[0] == pytest.approx(0.04)
    assert ours[-1] == pytest.approx(4e-5)


def test_cosine_against_its_formula() -> None:
    ours = rates(Cosine(end_factor=0.1), [0.0] * 8, steps=1)
    assert ours == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)])
    warm = rates(Cosine(warmup_epochs=3), [0.0] * 8, steps=1)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warm[-1] == pytest.approx(0.0)


def test_linear_schedule_is_two_lines() -> None:
    ours = rates(Linear(warmup_epochs=3, end_factor=0.2), [0.0] * 8, steps=1)
    assert ours == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.84, 0.68, 0.52, 0.36, 0.2])


def test_every_group_of_every_optimiser_follows_the_schedule() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = Muon(lr=0.5, rest=SGD(lr=0.1, norm_bias_lr_factor=4.0)).build(net)
    rate = LearningRate(Step(every=1, factor=0.5), optimizers, epochs=2, steps_per_epoch=1)
    for optimizer in optimizers:
        optimizer.step()
    rate.step_epoch(epoch_metrics(0.0))
    found = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    assert found == pytest.approx([0.25, 0.05, 0.2])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SGD(nesterov=True, weight_decay=0.1), torch.optim.SGD),
        (RMSprop(), torch.optim.RMSprop),
        (Adam(lr=0.1), torch.optim.Adam),
        (AdamW(beta2=0.9), torch.optim.AdamW),
    ],
)
def test_optimisers_are_pytorchs_own(config: Optimizer, expected: type[torch.optim.Optimizer]) -> None:
    (optimizer,) = config.build(nn.Linear(1, 1))
    assert type(optimizer) is expected
    (group,) = optimizer.param_groups
    for name, value in config.model_dump(exclude={"name", "beta1", "beta2", "norm_bias_lr_factor"}).items():
        assert group[name] == value
    if isinstance(config, Adam):
        assert group["betas"] == (config.beta1, config.beta2)


def test_score_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 5)) * 3, rng.integers(0, 5, 200)
    score = split_metrics(torch.tensor(logits), torch.tensor(labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert score.loss == pytest.approx(log_loss(labels, probabilities, labels=range(5)))
    assert score.correct == (logits.argmax(1) == labels).sum()
    assert score.accuracy == score.correct / 200


def split_of(count: int, size: int = 8) -> Split:
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return Split(images=images, labels=rng.integers(0, 10, count))


def test_loss_is_the_mean_over_images_whatever_the_batches(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Session.load(tiny)
    net, split = build(prepared.analysis.plan), split_of(103)
    normalize = Normalizer.of(prepared.data, torch.device("cpu"))
    whole = evaluate_split(net, split, normalize, torch.float32)
    monkeypatch.setattr("convsmith.training.metrics.EVALUATION_BATCH", 10)
    parts = evaluate_split(net, split, normalize, torch.float32)
    assert parts.loss == pytest.approx(whole.loss)
    assert parts.correct == whole.correct
    assert net.training
    net.eval()
    compute_logits(net, split, normalize, torch.float32)
    assert not net.training


def whole(split: Split, normalize: Normalizer) -> torch.Tensor:
    return next(normalized_batches(split.images, normalize, len(split)))


def test_normalised_images_have_mean_0_and_deviation_1(tiny: Recipe) -> None:
    data = Session.load(tiny).data
    images = whole(data.train, Normalizer.of(data, torch.device("cpu")))
    assert images.shape == (len(data.train), 1, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    pixel = (data.train.images[3][2, 1, 0] / 255 - data.mean[0]) / data.std[0]
    assert images[3, 0, 2, 1].item() == pytest.approx(pixel, abs=1e-6)


def test_an_epoch_sees_every_image_once() -> None:
    batches = list(shuffled_batches(103, 10, new_generator(0)))
    assert [len(batch) for batch in batches] == [10] * 10 + [3]
    assert sorted(np.concatenate(batches)) == list(range(103))
    assert len(batches) == num_batches(split_of(103), 10)
    assert not np.array_equal(np.concatenate(batches), np.arange(103))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.dropout=0.2"],
        ["train.optimizer=sgd", "train.schedule=step", "train.schedule.every=1"],
        ["train.optimizer=rmsprop", "train.schedule=plateau", "data.validation=0.1"],
        ["train.optimizer=adam", "train.schedule=cosine", "train.label_smoothing=0.1"],
        ["train.precision=bf16"],
        ["train.ema=0.9"],
        ["train.microbatch_size=16", "model.dropout=0.2", "train.optimizer=muon"],
        ["train.weight_standardization=true", "train.ema=0.9", "model.norm=none"],
    ],
)
def test_the_same_seed_gives_the_same_weights(overrides: list[str]) -> None:
    base = ["train.epochs=2", "model.net=C4 C8:s2 / G F10", *overrides]
    global_state = torch.random.get_rng_state()
    (first, _), (second, _), (other, _) = (
        trained(load("digits", [*base, f"seed={seed}"])) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), global_state)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    name = next(iter(first.state_dict()))
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_what_the_observers_see(tiny: Recipe) -> None:
    net, recorder = trained(tiny)
    per_epoch = num_batches(Session.load(tiny).data.train, tiny.train.batch_size)
    assert [start.epoch for start in recorder.starts] == [1, 2]
    assert {start.num_batches for start in recorder.starts} == {per_epoch}
    assert [batch.index for batch in recorder.batches] == [*range(per_epoch)] * 2
    last = recorder.batches[-1]
    assert recorder.epochs[-1].train.accuracy == pytest.approx(last.accuracy)
    assert recorder.epochs[-1].train.total == 1198
    assert recorder.epochs[-1].validation is None
    data = Session.load(tiny).data
    again = evaluate_split(net, data.test, Normalizer.of(data, torch.device("cpu")), torch.float32)
    assert again == recorder.epochs[-1].test


def test_training_learns() -> None:
    _, recorder = trained(load("digits", ["train.epochs=4", "train.optimizer.lr=0.02"]))
    assert recorder.epochs[-1].train.loss < 0.5 * recorder.epochs[0].train.loss
    test = recorder.epochs[-1].test
    assert test is not None
    assert test.accuracy > 0.8


def test_stopping_early_keeps_the_planned_schedule() -> None:
    _, whole = trained(load("digits", ["train.epochs=4", "model.net=C4 / G F10"]))
    _, part = trained(load("digits", ["train.epochs=4", "train.stop_after=2", "model.net=C4 / G F10"]))
    assert len(part.epochs) == 2
    assert [start.lr for start in part.starts] == [start.lr for start in whole.starts[:2]]
    for name, tensor in part.weights[-1].items():
        assert torch.equal(tensor, whole.weights[1][name])


def test_a_plateau_sees_only_what_it_is_told_to_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    base = ["train.epochs=3", "model.net=C4 / G F10", "data.validation=0.2", "train.schedule=plateau"]
    seen: list[float] = []
    accuracy = Plateau.accuracy

    def record(self: Plateau, metrics: EpochMetrics) -> float:
        seen.append(accuracy(self, metrics))
        return seen[-1]

    monkeypatch.setattr(Plateau, "accuracy", record)
    _, recorder = trained(load("digits", base))
    assert seen == [facts.validation.accuracy for facts in recorder.epochs if facts.validation]
    assert len(seen) == 3
    seen.clear()
    _, recorder = trained(load("digits", [*base, "train.schedule.monitor=test"]))
    assert seen == [facts.test.accuracy for facts in recorder.epochs if facts.test]
    assert len(seen) == 3


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    recipe = load("digits", ["train.optimizer=sgd", "model.norm=none", "train.precision=fp32"])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    before: list[dict[str, torch.Tensor]] = []

    class Poison(Callback):
        def on_batch_end(self, batch: BatchMetrics) -> None:
            if batch.index == 2:
                with torch.no_grad():
                    next(net.parameters())[0] = math.inf
                before.append({name: tensor.clone() for name, tensor in net.state_dict().items()})

    with pytest.raises(DivergedError) as caught:
        fit(net, prepared.data, recipe.train, recipe.augment, seed=0, callbacks=[Poison()])
    assert "epoch 1, batch 3: the loss is nan" in str(caught.value)
    assert "train.optimizer.lr=" in str(caught.value)
    assert len(before) == 1
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[0][name])


def test_a_gradient_that_is_not_finite_stops_before_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("digits", ["train.optimizer=adam", "model.net=C4 / G F10"])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    real = GradientWorkers.compute

    def compute(self: GradientWorkers, batch: BatchSpec, next_batch: BatchSpec | None = None) -> BatchResult:
        result = real(self, batch, next_batch)
        gradient = self.parameters[0].grad
        assert gradient is not None
        gradient[0, 0, 1, 1] = -math.inf
        return result

    monkeypatch.setattr(GradientWorkers, "compute", compute)
    with pytest.raises(DivergedError, match=r"the loss is \d.*, the gradient norm inf; training stopped"):
        fit(net, prepared.data, recipe.train, recipe.augment, seed=0)
    for parameter, before in zip(net.parameters(), weights, strict=True):
        assert torch.equal(parameter, before)


def test_what_diverges_is_told_one_step_late_where_numbers_are_read_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading_late(monkeypatch)
    recipe = load("digits", ["train.epochs=1", "model.net=C4 / G F10", "model.norm=none"])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    real, updates = Trainer.update_weights, list[int]()

    def update(self: Trainer) -> None:
        real(self)
        updates.append(len(updates))
        if len(updates) == 3:
            with torch.no_grad():
                next(self.net.parameters())[0] = math.inf

    monkeypatch.setattr(Trainer, "update_weights", update)
    told = "epoch 1, batch 3: the loss is nan.*training stopped one step later"
    with pytest.raises(DivergedError, match=told):
        fit(net, prepared.data, recipe.train, recipe.augment, seed=0)
    assert len(updates) == 5


class Reads(TorchFunctionMode):
    """Notes what makes Python wait for the device: a tensor's numbers become Python's."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in {"item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__"}:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "muon"])
def test_a_step_waits_for_the_device_once(
    optimizer: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, gradient and what was right come together; where they are read late, no step waits at all."""
    if late:
        reading_late(monkeypatch)
    followed = ["train.ema=0.9", "train.lookahead={k=1}"]
    recipe = load("digits", [f"train.optimizer={optimizer}", "augment.transforms=[]", *followed])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    trainer = Trainer(net, prepared.data, recipe.train, recipe.augment, seed=0)
    trainer.gradients.train()
    with Reads() as reads:
        facts = trainer.train_step(trainer.make_batch(torch.arange(64), 1, 0))
    assert reads.names == ([] if late else ["tolist"])
    loss, right = trainer.read_step(facts)
    assert 0 < loss < 10
    assert right in range(65)


def test_the_average_of_the_weights_is_what_is_evaluated_and_kept() -> None:
    overrides = ["train.epochs=2", "model.net=C4 C8:s2 / G F10", "train.precision=fp32", "train.ema=0.9"]
    recipe = load("digits", overrides)
    prepared = Session.load(recipe)
    raw: list[torch.Tensor] = []
    net = build(prepared.analysis.plan, generator=new_generator(0))
    name = "block1.conv2.weight"

    class Steps(Callback):
        def on_batch_end(self, batch: BatchMetrics) -> None:
            raw.append(net.state_dict()[name].clone())

    recorder = Recorder()
    fit(net, prepared.data, recipe.train, recipe.augment, seed=0, callbacks=[Steps(), recorder])
    average = raw[0]
    for weights in raw[1:]:
        average = 0.9 * average + 0.1 * weights
    assert torch.allclose(net.state_dict()[name], average, atol=1e-6)
    assert torch.equal(net.state_dict()[name], recorder.weights[-1][name])
    # The statistics are those of the averaged net on plain images, over all of them alike.
    with torch.no_grad():
        images = whole(prepared.data.train, Normalizer.of(prepared.data, torch.device("cpu")))
        first = net.get_submodule("block1.conv1")(images)
    measured = net.state_dict()["block1.norm1.running_mean"]
    assert torch.allclose(measured, first.mean((0, 2, 3)), atol=0.02)
    again = evaluate_split(
        net, prepared.data.test, Normalizer.of(prepared.data, torch.device("cpu")), torch.float32
    )
    assert again == recorder.epochs[-1].test


@pytest.mark.parametrize("overrides", [["train.optimizer=sgd"], ["train.optimizer=muon", "train.ema=0.9"]])
def test_lookahead_is_the_papers_algorithm(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights before each update, and those that are kept, are those of slow weights kept by hand."""
    net = "model.net=C4 C8:s2 / G F10"
    recipe = load("digits", ["train.epochs=1", net, "train.lookahead={k=4, alpha=0.3}", *overrides])
    prepared = Session.load(recipe)
    net_in_training = build(prepared.analysis.plan, generator=new_generator(0))
    begun: list[list[torch.Tensor]] = []
    fast: list[list[torch.Tensor]] = []

    def weights() -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in net_in_training.parameters()]

    real = Trainer.update_weights

    def update(self: Trainer) -> None:
        begun.append(weights())
        real(self)
        fast.append(weights())

    monkeypatch.setattr(Trainer, "update_weights", update)
    slow = weights()
    fit(net_in_training, prepared.data, recipe.train, recipe.augment, seed=0)
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
    # The statistics are those of the weights that are kept, on plain images.
    with torch.no_grad():
        images = whole(prepared.data.train, Normalizer.of(prepared.data, torch.device("cpu")))
        first = net_in_training.get_submodule("block1.conv1")(images)
    measured = net_in_training.state_dict()["block1.norm1.running_mean"]
    assert torch.allclose(measured, first.mean((0, 2, 3)), atol=0.02)


def test_lookahead_all_the_way_is_none() -> None:
    base = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "train.precision=fp32"]
    plain, _ = trained(load("digits", base))
    all_the_way, _ = trained(load("digits", [*base, "train.lookahead={k=1, alpha=1.0}"]))
    for mine, theirs in zip(plain.parameters(), all_the_way.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_averages_statistics_are_those_of_a_net_without_dropout() -> None:
    overrides = ["train.epochs=1", "model.net=C4 C8:s2 / G F10", "model.dropout=0.4", "train.ema=0.9"]
    recipe = load("digits", [*overrides, "model.dropout_at=layer"])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    fit(net, prepared.data, recipe.train, recipe.augment, seed=0)
    seen: list[torch.Tensor] = []
    net.get_submodule("block1.conv2").register_forward_hook(lambda *called: seen.append(called[2]))
    images = whole(prepared.data.train, Normalizer.of(prepared.data, torch.device("cpu")))
    net.eval()(images)
    measured = net.get_buffer("block1.norm2.running_var")
    # Of batches of 500 and of 198 images, each of which counts the same.
    assert torch.allclose(measured, seen[0].var((0, 2, 3)), rtol=0.05)
    assert [each.p for each in net.modules() if isinstance(each, nn.Dropout)] == [0.4] * 2


def test_standardised_weights_end_as_plain_ones() -> None:
    overrides = ["train.epochs=2", "model.net=C4 S8:s2 / F6 F10", "model.norm=none"]
    recipe = load("digits", [*overrides, "train.weight_standardization=true", "train.precision=fp32"])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    names, recorder = set(net.state_dict()), Recorder()
    fit(net, prepared.data, recipe.train, recipe.augment, seed=0, callbacks=[recorder])
    assert set(net.state_dict()) == set(recorder.weights[-1]) == names
    weights = {name: tensor for name, tensor in net.state_dict().items() if name.endswith("weight")}
    *hidden, classifier = weights.values()
    for weight in hidden:
        flat = weight.flatten(1)
        assert torch.allclose(flat.mean(1), torch.zeros(len(flat)), atol=1e-5)
        assert torch.allclose(flat.norm(dim=1), torch.full((len(flat),), 1.7129), atol=1e-3)
    assert not torch.allclose(classifier.mean(1), torch.zeros(10), atol=1e-5)
    normalize = Normalizer.of(prepared.data, torch.device("cpu"))
    assert evaluate_split(net, prepared.data.test, normalize, torch.float32) == recorder.epochs[-1].test
    assert not parametrize.is_parametrized(net.get_submodule("block1.conv1"))


def test_a_device_that_is_not_there() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="no cuda device"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda() -> None:
    net, recorder = trained(load("digits", ["train.epochs=2", "train.device=cuda"]))
    assert next(net.parameters()).is_cuda
    assert len(recorder.epochs) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_no_step_on_cuda_waits_for_the_gpu(mix: str) -> None:
    """PyTorch itself tells of whatever waits."""
    names = ("HorizontalFlip", "ShiftScaleRotate", "RandomCrop", "RandomBrightnessContrast")
    transforms = [f'{{name="{name}", p=0.5}}' for name in names]
    transforms.append('{name="CoarseDropout", hole_height_range=[2, 3], hole_width_range=[2, 3]}')
    augment = [f"augment.transforms=[{', '.join(transforms)}]", f"augment.mix={mix}"]
    fields = ["train.optimizer=muon", "train.ema=0.9", "train.lookahead={k=1}", "model.dropout=0.1"]
    smaller = "train.progressive={start_size=6}"
    recipe = load("digits", ["train.device=cuda", *augment, *fields, smaller])
    prepared = Session.load(recipe)
    net = build(prepared.analysis.plan, generator=new_generator(0))
    trainer = Trainer(net, prepared.data, recipe.train, recipe.augment, seed=0)
    trainer.gradients.train()
    batches = [trainer.make_batch(torch.arange(64), 1, step) for step in range(4)]
    # Libraries are loaded and tuned in the first steps.
    found = [trainer.train_step(batch) for batch in batches[:2]]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found += [trainer.train_step(batch) for batch in batches[2:]]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(0 < trainer.read_step(each)[0] < 100 for each in found)


def test_small_steps_take_one_thread() -> None:
    before = torch.get_num_threads()
    with threads_for(1_000):
        assert torch.get_num_threads() == 1
    with pytest.raises(ValueError, match="inside"), threads_for(1_000):
        raise ValueError("inside")
    assert torch.get_num_threads() == before
    with threads_for(10**10):
        assert torch.get_num_threads() == before


FAULTS = """
import resource, sys, torch
from convsmith.system.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1:]:
    keep_freed_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        torch.ones(2**26, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """New pages come one fault each, or 512 at a time where the system gives huge ones.

    It takes a few rounds until there is a free block that fits every time.
    """

    def faults(*arguments: str, **environment: str) -> int:
        command = [sys.executable, "-c", FAULTS, *arguments]
        done = subprocess.run(
            command, env=os.environ | environment, check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults() >= 2 * 2**26 // 2**21
    assert faults("keep") < 10
    assert faults("keep", MALLOC_MMAP_THRESHOLD_="1000000") >= 2 * 2**26 // 2**21


def test_bf16_is_chosen_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, large = torch.device("cpu"), 10**9
    assert choose_precision("fp32", cpu, large) == "fp32"
    assert choose_precision("bf16", cpu, 1) == "bf16"
    for has, macs, expected in ((True, large, "bf16"), (True, 10**6, "fp32"), (False, large, "fp32")):
        monkeypatch.setattr(device, "cpu_has_bf16", lambda has=has: has)
        assert choose_precision("auto", cpu, macs) == expected
    assert (dtype_of("bf16"), dtype_of("fp32")) == (torch.bfloat16, torch.float32)


def test_a_prepared_recipe_leaves_nothing_to_the_machine(tiny: Recipe) -> None:
    assert tiny.train.precision == "auto"
    assert Session.load(tiny).resolved_recipe.train.precision == "fp32"
