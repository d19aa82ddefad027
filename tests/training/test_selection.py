"""The best epoch and early stopping, against PyTorch's plateau schedule and a training without either."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convsmith.errors import RecipeError, RunError
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.callbacks import Callback
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import EpochMetrics, SplitMetrics
from convsmith.training.selection import best_epoch, epochs_without_improvement, stop_reason, stops_early
from convsmith.training.state import TrainerState
from convsmith.training.trainer import fit
from helpers.trained import trained

BASE = ["train.epochs=5", "model.net=C4 C6:s2 / G F10", "data.validation=0.1", "train.optimizer.lr=0.02"]


def history(values: list[float], monitor: str = "accuracy") -> list[EpochMetrics]:
    """A history in which the monitored metric has these values."""
    epochs = []
    for epoch, value in enumerate(values, start=1):
        fields: dict[str, Any] = {"loss": 1.0, "correct": 0, "total": 1000, "balanced_accuracy": 0.5}
        fields |= {"correct": round(value * 1000)} if monitor == "accuracy" else {monitor: value}
        split = SplitMetrics(**fields)
        epochs.append(
            EpochMetrics(
                epoch=epoch, lr=0.1, train=split, validation=split, test=None, train_seconds=0,
                evaluation_seconds=0,
            )
        )  # fmt: skip
    return epochs


def config(**train: Any) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1000, **train})


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 8), min_size=1, max_size=30),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.125, 0.25]),
    monitor=st.sampled_from(["accuracy", "loss", "balanced_accuracy"]),
)
def test_training_stops_where_a_plateau_schedule_would_lower_the_rate(
    values: list[int], patience: int, min_delta: float, monitor: str
) -> None:
    shares = [value / 8 for value in values]
    stopping = config(early_stopping={"patience": patience, "min_delta": min_delta}, monitor=monitor)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="min" if monitor == "loss" else "max",
        factor=0.5,
        patience=patience - 1,
        threshold=min_delta,
        threshold_mode="abs",
    )
    expected = None
    for epoch, value in enumerate(shares, start=1):
        plateau.step(value)
        if optimizer.param_groups[0]["lr"] < 1:
            expected = epoch
            break
    stops = [
        end for end in range(1, len(shares) + 1) if stops_early(history(shares[:end], monitor), stopping)
    ]
    assert (stops[0] if stops else None) == expected


@given(st.lists(st.integers(0, 8), min_size=1, max_size=20), st.sampled_from(["accuracy", "loss"]))
def test_the_best_epoch_is_the_first_of_the_best(values: list[int], monitor: str) -> None:
    shares = [value / 8 for value in values]
    best = min(shares) if monitor == "loss" else max(shares)
    assert (
        best_epoch(history(shares, monitor), config(keep="best", monitor=monitor)) == shares.index(best) + 1
    )


def test_a_metric_that_nothing_goes_by_is_an_error() -> None:
    with pytest.raises(RecipeError, match='monitor = "loss" has no effect') as error:
        load("digits", ["train.monitor=loss"])
    assert "set train.keep=best, or train.monitor=accuracy, the default" in str(error.value)
    load("digits", ["data.validation=0.1", "train.monitor=loss", "train.early_stopping.patience=2"])


def test_a_metric_that_is_not_a_number_is_never_the_best() -> None:
    settings = config(monitor="loss", early_stopping={"patience": 2})
    assert best_epoch(history([math.nan, 3.0, math.nan, 2.0], "loss"), settings) == 4
    assert stops_early(history([math.nan, math.nan, math.nan], "loss"), settings)
    assert not stops_early(history([math.nan, math.nan, 5.0], "loss"), settings)


def test_an_extension_gives_the_patience_anew() -> None:
    values = [0.5, 0.4, 0.4, 0.3, 0.3, 0.3]
    plain = config(early_stopping={"patience": 2})
    extended = config(early_stopping={"patience": 2}, phases=[{"planned": 5, "epochs": 3}])
    assert [stops_early(history(values[:end]), plain) for end in (2, 3)] == [False, True]
    counts = [epochs_without_improvement(history(values[:end]), extended) for end in range(1, 7)]
    assert counts == [0, 1, 0, 1, 2, 3]


def test_the_reason_names_metric_and_best_epoch() -> None:
    stopping = config(early_stopping={"patience": 2, "min_delta": 0.01}, monitor="loss")
    assert stop_reason(history([1.5, 0.5, 0.6, 0.4951], "loss"), stopping) == (
        "Stopped early after epoch 4: the validation loss has not improved (by more than 0.01) for 2 epochs, "
        "the best is 0.4951 after epoch 4"
    )


class Events(Callback):
    """Records the hooks about the selection, and the weights of each best epoch."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.best: dict[str, torch.Tensor] = {}
        self.epoch = 0

    def on_best_epoch(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.names.append(f"best {metrics.epoch}")
        self.best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        self.epoch = metrics.epoch

    def on_early_stop(self, reason: str) -> None:
        self.names.append(reason.partition(":")[0])

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.names.append(f"end {metrics.epoch}")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.ema=0.5"],
        ["train.lookahead={k=3}", "train.microbatch_size=16"],
        ["train.weight_standardization=true", "model.norm=none"],
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(overrides: list[str]) -> None:
    """The oracle: the weights after each epoch of a training that keeps the last."""
    # Of loss and accuracy the rate makes later epochs worse.
    settings = [*BASE, "train.schedule=constant", "train.optimizer.lr=0.2", *overrides]
    _, recorder = trained(load("digits", settings))
    losses = [each.validation.loss for each in recorder.epochs if each.validation]
    best = min(range(5), key=losses.__getitem__)
    events = Events()
    net, again = trained(
        load("digits", [*settings, "train.keep=best", "train.monitor=loss"]), callbacks=[events]
    )
    assert [each.validation for each in again.epochs] == [each.validation for each in recorder.epochs]
    assert events.epoch == best + 1
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, recorder.weights[best][name]), name
        assert torch.equal(tensor, events.best[name]), name


def test_training_stops_early_and_says_why() -> None:
    events = Events()
    # Nothing improves by more than 1.
    early = ["train.early_stopping={patience=2, min_delta=1.0}"]
    _, recorder = trained(load("digits", [*BASE, *early]), callbacks=[events])
    assert len(recorder.epochs) == 3
    assert events.names[0] == "best 1"
    assert events.names[-2:] == ["Stopped early after epoch 3", "end 3"]
    assert all(start.may_stop for start in recorder.starts)


class States(Callback):
    """Copies every state that a trainer passes on."""

    def __init__(self) -> None:
        self.states: list[TrainerState] = []

    def on_checkpoint(self, state: TrainerState) -> None:
        tensors = {
            component: {name: tensor.clone() for name, tensor in each.items()}
            for component, each in state.tensors.items()
        }
        self.states.append(
            TrainerState(
                progress=state.progress, history=state.history, num_batches=state.num_batches,
                seconds=state.seconds, tensors=tensors,
            )
        )  # fmt: skip


def resumed(state: TrainerState, *overrides: str) -> nn.Module:
    recipe = load("digits", [*BASE, *overrides])
    session = Session.load(recipe)
    net = session.build_net()
    fit(net, session.data, recipe.train, recipe.augment, seed=recipe.seed, state=state)
    return net


def test_a_state_of_another_selection_is_refused() -> None:
    states = States()
    trained(load("digits", [*BASE, "train.epochs=2"]), callbacks=[states])
    with pytest.raises(RunError, match=r"the weights of the best epoch so far, epoch \d, were not kept"):
        resumed(states.states[-1], "train.keep=best")
    states = States()
    trained(load("digits", [*BASE, "train.epochs=2", "train.keep=best"]), callbacks=[states])
    # The last epoch can be kept at any time.
    resumed(states.states[-1], "train.epochs=2", "train.keep=last")
    resumed(states.states[-1], "train.epochs=2", "train.keep=best")


@pytest.mark.parametrize("overrides", [["train.keep=best"], ["train.early_stopping={patience=3}"]])
def test_a_validation_split_is_needed(overrides: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"data.validation is 0\n  fix: write data.validation=0.1"):
        load("digits", overrides)
    data = Session.load(load("digits")).data
    recipe = load("digits", [*BASE, *overrides])
    with pytest.raises(RecipeError, match="need a validation split, and the data has none"):
        fit(Session.load(recipe).build_net(), data, recipe.train, recipe.augment, seed=0)


def test_balanced_accuracy_needs_every_class_in_the_validation_split() -> None:
    from dataclasses import replace

    recipe = load("digits", [*BASE, "train.keep=best", "train.monitor=balanced_accuracy"])
    session = Session.load(recipe)
    validation = session.data.validation
    assert validation is not None
    data = replace(session.data, validation=validation.select(validation.labels != 3))
    with pytest.raises(RecipeError, match="the validation split has no image of 3"):
        Session.of(recipe, data)
