"""A training that resumes from any checkpoint ends with the weights of an uninterrupted one."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from convsmith.data.dataset import ImageDataset
from convsmith.errors import RunError, StoppedError
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.runs.checkpoint import Checkpoint, load_checkpoint
from convsmith.system.signals import StopRequest
from convsmith.training.callbacks import Callback
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState
from convsmith.training.trainer import fit
from helpers.fast import few_fast
from helpers.markers import needs_bf16
from helpers.trained import delay_metrics

if TYPE_CHECKING:
    from torch._dynamo.testing import CompileCounterWithBackend


OPTIMIZERS, SCHEDULES = (
    [table.model_fields["name"].default for table in get_args(TrainConfig.model_fields[field].annotation)]
    for field in ("optimizer", "schedule")
)


TINY = ["train.epochs=3", "train.batch_size=32", "model.net=C4 C6:s2 / G F10", "name=tiny"]


class CheckpointRecorder(Callback):
    """Keeps every checkpoint as bytes, and may request a stop after a number of batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop, self.left = StopRequest(), stop_after
        self.saved: list[bytes] = []
        self.losses: list[float] = []

    def on_checkpoint(self, state: TrainerState) -> None:
        self.saved.append(Checkpoint(conditions={}, state=state).to_bytes())

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.losses.append(batch.loss)
        if self.left is not None:
            self.left -= 1
            if not self.left:
                self.stop.signal = 15


@pytest.fixture(scope="module")
def small_data() -> ImageDataset:
    """The first 150 digits: five batches of up to 32."""
    data = Session.load(load("digits", ["data.validation=0.2"])).data
    assert data.validation is not None
    return dataclasses.replace(
        data,
        train=data.train.select(np.arange(150)),
        validation=data.validation.select(np.arange(40)),
        test=data.test.select(np.arange(40)),
    )


@dataclasses.dataclass(frozen=True)
class Trained:
    weights: dict[str, Tensor]
    history: tuple[EpochMetrics, ...]
    states: CheckpointRecorder

    def equals(self, other: "Trained") -> bool:
        """Compare the weights bit by bit, and all metrics except the durations."""
        rows_without_seconds = [
            [dataclasses.replace(metrics, train_seconds=0, evaluation_seconds=0) for metrics in each.history]
            for each in (self, other)
        ]
        return rows_without_seconds[0] == rows_without_seconds[1] and all(
            torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items()
        )


def train(overrides: Sequence[str], data: ImageDataset, state: TrainerState | None = None) -> Trained:
    recipe = load("digits", ["data.validation=0.2", *TINY, *overrides])
    session = Session.load(recipe)
    states = CheckpointRecorder()
    net = session.build_net()
    history = fit(
        net,
        data,
        session.resolved_recipe.train,
        recipe.augment,
        seed=recipe.seed,
        callbacks=[states],
        state=state,
    )
    return Trained(weights=net.state_dict(), history=history, states=states)


def stopped_after(overrides: Sequence[str], data: ImageDataset, batches: int) -> bytes:
    """Return the checkpoint of a training that is stopped_after after a number of batches."""
    recipe = load("digits", ["data.validation=0.2", *TINY, *overrides])
    session = Session.load(recipe)
    states = CheckpointRecorder(batches)
    net = session.build_net()
    with pytest.raises(StoppedError):
        fit(
            net, data, session.resolved_recipe.train, recipe.augment,
            seed=recipe.seed, callbacks=[states], stop=states.stop,
        )  # fmt: skip
    return states.saved[-1]


def read(content: bytes, folder: Path) -> TrainerState:
    (folder / "state").write_bytes(content)
    return load_checkpoint(folder / "state").state


@pytest.mark.parametrize("schedule", few_fast(SCHEDULES, 1))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_with_every_schedule(
    optimizer: str, schedule: str, small_data: ImageDataset, tmp_path: Path
) -> None:
    overrides = [f"train.optimizer={optimizer}", f"train.schedule={schedule}"]
    if schedule == "step":
        overrides.append("train.schedule.every=1")
    if schedule == "plateau":
        overrides += ["train.schedule.patience=1", "train.optimizer.lr=1e-5"]
    expected = train(overrides, small_data)
    assert len(expected.states.saved) == 4
    for content in (*expected.states.saved[:3], stopped_after(overrides, small_data, 7)):
        again = train(overrides, small_data, read(content, tmp_path))
        assert again.equals(expected)
        assert again.states.losses == expected.states.losses[-len(again.states.losses) :]


@pytest.mark.parametrize(
    "overrides",
    few_fast(
        [
            ["train.ema=0.9"],
            ["train.ema=0.9", "train.weight_standardization=true", "model.norm=none"],
            ["train.lookahead={k=3, alpha=0.7}", "train.optimizer=muon"],
            ["train.lookahead={}", "train.ema=0.9", "train.microbatch_size=8"],
            ["train.progressive={start_size=6, until=0.5}", "train.optimizer=muon"],
            ["augment.mix=mixup"],
            ["augment.mix=cutmix", "model.dropout=0.2"],
            ["train.microbatch_size=8", "model.dropout=0.2", "train.optimizer=muon", "train.ema=0.9"],
            ["train.whitening=true", "model.net=C18:p1 C6:s2 / G F10"],
            pytest.param(["train.precision=bf16", "model.dropout=0.1"], marks=needs_bf16),
            ["augment.engine=albumentations"],
            ['augment.transforms=[{name="HorizontalFlip", alternate=true, p=0.5}]'],
            ["train.optimizer=sgd", "train.optimizer.momentum=0.0"],
            ["train.optimizer=rmsprop", "train.optimizer.momentum=0.9"],
        ],
        4,
    ),
    ids=" ".join,
)
def test_every_feature_from_every_state(
    overrides: list[str], small_data: ImageDataset, tmp_path: Path
) -> None:
    expected = train(overrides, small_data)
    for content in (
        *expected.states.saved,
        *(stopped_after(overrides, small_data, batches) for batches in (1, 4, 5, 8)),
    ):
        assert train(overrides, small_data, read(content, tmp_path)).equals(expected)


@pytest.mark.parametrize("overrides", [[], ["train.lookahead={k=3}", "train.microbatch_size=8"]], ids=str)
def test_metrics_that_are_read_late_are_equal(
    overrides: list[str], small_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading late is the default on CUDA. A stop requested at batch 7 takes effect after batch 8."""
    expected = train(overrides, small_data)
    before = [stopped_after(overrides, small_data, batches) for batches in (2, 8, 10)]
    delay_metrics(monkeypatch)
    late = train(overrides, small_data)
    assert late.equals(expected)
    assert late.states.losses == expected.states.losses
    for batches, content in zip((1, 7, 9), before, strict=True):
        state = read(stopped_after(overrides, small_data, batches), tmp_path)
        assert equal_except_time(state, read(content, tmp_path))
        assert train(overrides, small_data, state).equals(expected)


def equal_except_time(one: TrainerState, other: TrainerState) -> bool:
    places = [(each.progress.epoch, each.progress.step, each.progress.loss_sum) for each in (one, other)]
    return places[0] == places[1] and all(
        torch.equal(tensor, other.tensors[component][name])
        for component, tensors in one.tensors.items()
        for name, tensor in tensors.items()
    )


def test_a_state_with_the_step_count_of_an_average_is_loaded(
    small_data: ImageDataset, tmp_path: Path
) -> None:
    """Checkpoints had the count when PyTorch's class computed the average."""
    overrides = ["train.ema=0.9"]
    state = read(stopped_after(overrides, small_data, 7), tmp_path)
    older = copy.deepcopy(state)
    older.tensors["average"]["n_averaged"] = torch.tensor(7)
    assert train(overrides, small_data, older).equals(train(overrides, small_data))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_training_resumes_within_an_epoch(
    small_data: ImageDataset, tmp_path: Path, compiler: "CompileCounterWithBackend"
) -> None:
    """Compiling again draws no random numbers, and compiles only for the remaining shapes."""
    overrides = ["train.compile=true", "train.epochs=2", "model.dropout=0.2"]
    overrides.append("train.progressive={start_size=6, until=0.6}")
    expected = train(overrides, small_data)
    # Batches of 32 and of 22 images, of 6x6 and of 8x8 pixels.
    assert compiler.frame_count == 4
    early, late = stopped_after(overrides, small_data, 4), stopped_after(overrides, small_data, 7)
    assert compiler.frame_count == 12
    assert train(overrides, small_data, read(early, tmp_path)).equals(expected)
    assert compiler.frame_count == 16
    assert train(overrides, small_data, read(late, tmp_path)).equals(expected)
    assert compiler.frame_count == 18


def test_a_state_of_another_net_or_optimizer_is_rejected(small_data: ImageDataset, tmp_path: Path) -> None:
    state = read(train([], small_data).states.saved[1], tmp_path)
    for other in (
        ["model.net=C4 C8:s2 / G F10"],
        ["model.net=C4 C6 C6:s2 / G F10"],
        ["train.optimizer=muon"],
        ["train.ema=0.9"],
        ["train.lookahead={}"],
    ):
        with pytest.raises(RunError, match="of another net or optimiser"):
            train(other, small_data, state)


def test_any_damage_to_a_checkpoint_is_detected(small_data: ImageDataset, tmp_path: Path) -> None:
    content = train(["train.epochs=1"], small_data).states.saved[-1]
    tried = 0
    for place in range(0, len(content), 61):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        for damaged in (bytes(flipped), content[:place]):
            with pytest.raises(RunError, match="the saved state is damaged"):
                read(damaged, tmp_path)
            tried += 1
    assert tried > 200
    for hostile in (b"\x80\x04cos\nsystem\n(S'true'\ntR.", (2**63).to_bytes(8, "little"), content + b"0"):
        with pytest.raises(RunError, match="the saved state is damaged"):
            read(hostile, tmp_path)
