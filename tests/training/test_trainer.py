"""The training loop."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convsmith.data.normalize import Normalizer
from convsmith.errors import DivergedError
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.training.batches import num_batches
from convsmith.training.callbacks import Callback
from convsmith.training.gradients import BatchResult, GradientWorkers
from convsmith.training.metrics import (
    BatchMetrics,
    EpochMetrics,
    evaluate_split,
)
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.trainer import Trainer, fit
from helpers.fast import few_fast
from helpers.markers import needs_bf16
from helpers.trained import delay_metrics, trained


@pytest.mark.parametrize(
    "overrides",
    few_fast(
        [
            ["model.dropout=0.2"],
            ["train.optimizer=sgd", "train.schedule=step", "train.schedule.every=1"],
            ["train.optimizer=rmsprop", "train.schedule=plateau", "data.validation=0.1"],
            ["train.optimizer=adam", "train.schedule=cosine", "train.label_smoothing=0.1"],
            pytest.param(["train.precision=bf16"], marks=needs_bf16),
            ["train.ema=0.9"],
            ["train.microbatch_size=16", "model.dropout=0.2", "train.optimizer=muon"],
            ["train.weight_standardization=true", "train.ema=0.9", "model.norm=none"],
            ["train.l1=0.0001", "train.ema=0.9", "train.microbatch_size=16", "model.norm=layer"],
            ["train.sampling=balanced", "train.ema=0.9", "train.clip_gradient_norm=0.5"],
            [
                "train.class_weights=balanced",
                "train.microbatch_size=16",
                "data.validation=0.1",
                "train.keep=best",
            ],
        ],
        4,
    ),
)
def test_equal_seeds_give_equal_weights(overrides: list[str]) -> None:
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


def test_callback_hooks(tiny: Recipe) -> None:
    net, recorder = trained(tiny)
    per_epoch = num_batches(len(Session.load(tiny).data.train), tiny.train.batch_size)
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


@pytest.mark.parametrize("late", [False, True])
def test_the_share_of_clipped_steps(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if late:
        delay_metrics(monkeypatch)
    base = ["train.epochs=1", "model.net=C4 / G F10", "train.optimizer=sgd", "train.optimizer.lr=0.001"]
    norms: list[float] = []
    read = Trainer.read_step

    def record(self: Trainer, step: Any) -> tuple[float, float, int]:
        values = read(self, step)
        if self.progress.step == len(norms):
            norms.append(values[1])
        return values

    monkeypatch.setattr(Trainer, "read_step", record)
    _, recorder = trained(load("digits", base))
    assert recorder.epochs[0].clipped is None
    bound = sorted(norms)[len(norms) // 2]
    norms.clear()
    _, recorder = trained(load("digits", [*base, f"train.clip_gradient_norm={bound}"]))
    clipped = sum(norm > bound for norm in norms) / len(norms)
    assert 0 < clipped < 1
    assert recorder.epochs[0].clipped == pytest.approx(clipped)


def test_stop_after_keeps_the_schedule() -> None:
    _, whole = trained(load("digits", ["train.epochs=4", "model.net=C4 / G F10"]))
    _, part = trained(load("digits", ["train.epochs=4", "train.stop_after=2", "model.net=C4 / G F10"]))
    assert len(part.epochs) == 2
    assert [start.lr for start in part.starts] == [start.lr for start in whole.starts[:2]]
    for name, tensor in part.weights[-1].items():
        assert torch.equal(tensor, whole.weights[1][name])


def test_plateau_monitors_the_configured_split(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_non_finite_loss_stops_before_the_update() -> None:
    recipe = load("digits", ["train.optimizer=sgd", "model.norm=none", "train.precision=fp32"])
    session = Session.load(recipe)
    net = session.build_net()
    before: list[dict[str, torch.Tensor]] = []

    class Poison(Callback):
        def on_batch_end(self, batch: BatchMetrics) -> None:
            if batch.index == 2:
                with torch.no_grad():
                    next(net.parameters())[0] = math.inf
                before.append({name: tensor.clone() for name, tensor in net.state_dict().items()})

    with pytest.raises(DivergedError) as caught:
        fit(net, session.data, recipe.train, recipe.augment, seed=0, callbacks=[Poison()])
    assert "epoch 1, batch 3: the loss is nan" in str(caught.value)
    assert "train.optimizer.lr=" in str(caught.value)
    assert len(before) == 1
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[0][name])


def test_non_finite_gradient_stops_before_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("digits", ["train.optimizer=adam", "model.net=C4 / G F10"])
    session = Session.load(recipe)
    net = session.build_net()
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    real = GradientWorkers.compute

    def compute(self: GradientWorkers, *arguments: Any, **options: Any) -> BatchResult:
        result = real(self, *arguments, **options)
        gradient = self.parameters[0].grad
        assert gradient is not None
        gradient[0, 0, 1, 1] = -math.inf
        return result

    monkeypatch.setattr(GradientWorkers, "compute", compute)
    with pytest.raises(DivergedError, match=r"the loss is \d.*, the gradient norm inf; training stopped"):
        fit(net, session.data, recipe.train, recipe.augment, seed=0)
    for parameter, before in zip(net.parameters(), weights, strict=True):
        assert torch.equal(parameter, before)


def test_delayed_metrics_detect_divergence_one_step_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delay_metrics(monkeypatch)
    recipe = load("digits", ["train.epochs=1", "model.net=C4 / G F10", "model.norm=none"])
    session = Session.load(recipe)
    net = session.build_net()
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
        fit(net, session.data, recipe.train, recipe.augment, seed=0)
    assert len(updates) == 5


class Reads(TorchFunctionMode):
    """Records the functions that synchronize with the device."""

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
def test_a_step_synchronizes_with_the_device_once(
    optimizer: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All metrics are copied at once; if they are delayed, no step synchronizes."""
    if late:
        delay_metrics(monkeypatch)
    followed = ["train.ema=0.9", "train.lookahead={k=1}"]
    recipe = load("digits", [f"train.optimizer={optimizer}", "augment.transforms=[]", *followed])
    session = Session.load(recipe)
    net = session.build_net()
    trainer = Trainer(net, session.data, recipe.train, recipe.augment, seed=0)
    trainer.gradients.train()
    with Reads() as reads:
        facts = trainer.train_step(trainer.make_batch(torch.arange(64), 1, 0))
    assert reads.names == ([] if late else ["tolist"])
    loss, _, right = trainer.read_step(facts)
    assert 0 < loss < 10
    assert right in range(65)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda() -> None:
    net, recorder = trained(load("digits", ["train.epochs=2", "train.device=cuda"]))
    assert next(net.parameters()).is_cuda
    assert len(recorder.epochs) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_no_step_on_cuda_synchronizes(mix: str) -> None:
    """PyTorch raises an error on synchronization."""
    names = ("HorizontalFlip", "ShiftScaleRotate", "RandomCrop", "RandomBrightnessContrast")
    transforms = [f'{{name="{name}", p=0.5}}' for name in names]
    transforms.append('{name="CoarseDropout", hole_height_range=[2, 3], hole_width_range=[2, 3]}')
    augment = [f"augment.transforms=[{', '.join(transforms)}]", f"augment.mix={mix}"]
    fields = ["train.optimizer=muon", "train.ema=0.9", "train.lookahead={k=1}", "model.dropout=0.1"]
    smaller = "train.progressive={start_size=6}"
    recipe = load("digits", ["train.device=cuda", *augment, *fields, smaller])
    session = Session.load(recipe)
    net = session.build_net()
    trainer = Trainer(net, session.data, recipe.train, recipe.augment, seed=0)
    trainer.gradients.train()
    batches = [trainer.make_batch(torch.arange(64), 1, step) for step in range(4)]
    # The first steps load and tune libraries.
    found = [trainer.train_step(batch) for batch in batches[:2]]
    torch.cuda.set_sync_debug_mode("error")
    try:
        found += [trainer.train_step(batch) for batch in batches[2:]]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(0 < trainer.read_step(each)[0] < 100 for each in found)


def test_progressive_resizing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    forward = nn.Conv2d.forward

    def spy(self: nn.Conv2d, images: Tensor) -> Tensor:
        if self.in_channels == 1 and torch.is_grad_enabled():
            sizes.append(tuple(images.shape[2:]))
        return forward(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", spy)
    recipe = load(
        "digits",
        [
            "train.epochs=3",
            "model.net=C4 / G F10",
            "train.progressive.start_size=6",
            "train.progressive.until=0.6",
        ],
    )
    trained(recipe)
    steps = len(sizes) // 3
    small = round(0.6 * 3 * steps + 0.499)
    assert sizes == [(6, 6)] * small + [(8, 8)] * (3 * steps - small)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_class_weights_sampling_and_clipping_on_cuda() -> None:
    """The losses of the first steps are those of the CPU; the best epoch is kept."""
    weights = ", ".join(f"{digit}={1 + digit}" for digit in range(10))
    fields = [f"train.class_weights={{{weights}}}", "train.sampling=balanced", "train.clip_gradient_norm=0.5"]
    base = ["train.epochs=2", "model.net=C4 C8:s2 / G F10", "train.precision=fp32", "augment=false"]
    best = ["train.keep=best", "train.monitor=loss", "data.validation=0.1"]
    losses = []
    for device in ("cpu", "cuda"):
        _, recorder = trained(load("digits", [*base, *fields, *best, f"train.device={device}"]))
        losses.append([batch.loss for batch in recorder.batches[:5]])
        assert recorder.epochs[0].clipped is not None
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
