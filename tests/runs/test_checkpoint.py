"""A training that goes on from any of its states ends with the weights of one that never stopped."""

import copy
import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith.data.dataset import ImageDataset
from convsmith.errors import ConvsmithError, DivergedError, FileError, RecipeError, RunError, StoppedError
from convsmith.net.module import build
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.runs.checkpoint import Checkpoint, load_checkpoint
from convsmith.system import reading
from convsmith.system.device import machine_record
from convsmith.system.rng import new_generator
from convsmith.system.signals import StopRequest
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState
from convsmith.training.trainer import Trainer, fit
from helpers.trained import reading_late

if TYPE_CHECKING:
    from torch._dynamo.testing import CompileCounterWithBackend

OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "muon")
SCHEDULES = ("constant", "step", "plateau", "one-cycle", "cosine", "linear")
TINY = ["train.epochs=3", "train.batch_size=32", "model.net=C4 C6:s2 / G F10", "name=tiny"]


class States(Callback):
    """Keeps every state as bytes, and may ask for a stop after so many batches."""

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
def few() -> ImageDataset:
    """The first 150 of the digits: five batches of 32, the last one smaller."""
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
    states: States

    def equals(self, other: "Trained") -> bool:
        """Weights to the bit, and all that was measured but time."""
        timeless = [
            [dataclasses.replace(facts, train_seconds=0, evaluation_seconds=0) for facts in each.history]
            for each in (self, other)
        ]
        return timeless[0] == timeless[1] and all(
            torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items()
        )


def train(overrides: Sequence[str], data: ImageDataset, state: TrainerState | None = None) -> Trained:
    recipe = load("digits", ["data.validation=0.2", *TINY, *overrides])
    prepared: Session = Session.load(recipe)
    states = States()
    net = build(prepared.analysis.plan, generator=new_generator(recipe.seed))
    history = fit(
        net,
        data,
        prepared.resolved_recipe.train,
        recipe.augment,
        seed=recipe.seed,
        callbacks=[states],
        state=state,
    )
    return Trained(weights=net.state_dict(), history=history, states=states)


def stopped(overrides: Sequence[str], data: ImageDataset, batches: int) -> bytes:
    """The state that a training leaves which is stopped after so many batches."""
    recipe = load("digits", ["data.validation=0.2", *TINY, *overrides])
    prepared = Session.load(recipe)
    states = States(batches)
    net = build(prepared.analysis.plan, generator=new_generator(recipe.seed))
    with pytest.raises(StoppedError):
        fit(
            net, data, prepared.resolved_recipe.train, recipe.augment,
            seed=recipe.seed, callbacks=[states], stop=states.stop,
        )  # fmt: skip
    return states.saved[-1]


def read(content: bytes, folder: Path) -> TrainerState:
    (folder / "state").write_bytes(content)
    return load_checkpoint(folder / "state").state


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_with_every_schedule(
    optimizer: str, schedule: str, few: ImageDataset, tmp_path: Path
) -> None:
    overrides = [f"train.optimizer={optimizer}", f"train.schedule={schedule}"]
    if schedule == "step":
        overrides.append("train.schedule.every=1")
    if schedule == "plateau":
        overrides += ["train.schedule.patience=1", "train.optimizer.lr=1e-5"]
    whole = train(overrides, few)
    assert len(whole.states.saved) == 4
    for content in (*whole.states.saved[:3], stopped(overrides, few, 7)):
        again = train(overrides, few, read(content, tmp_path))
        assert again.equals(whole)
        assert again.states.losses == whole.states.losses[-len(again.states.losses) :]


@pytest.mark.parametrize(
    "overrides",
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
        ["train.precision=bf16", "model.dropout=0.1"],
        ["augment.engine=albumentations"],
        ['augment.transforms=[{name="HorizontalFlip", alternate=true, p=0.5}]'],
        ["train.optimizer=sgd", "train.optimizer.momentum=0.0"],
        ["train.optimizer=rmsprop", "train.optimizer.momentum=0.9"],
    ],
    ids=" ".join,
)
def test_every_feature_from_every_state(overrides: list[str], few: ImageDataset, tmp_path: Path) -> None:
    whole = train(overrides, few)
    for content in (*whole.states.saved, *(stopped(overrides, few, batches) for batches in (1, 4, 5, 8))):
        assert train(overrides, few, read(content, tmp_path)).equals(whole)


@pytest.mark.parametrize("overrides", [[], ["train.lookahead={k=3}", "train.microbatch_size=8"]], ids=str)
def test_numbers_that_are_read_late_are_the_same(
    overrides: list[str], few: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are on CUDA. A stop that is asked for when batch 7 is read comes after the eighth."""
    whole = train(overrides, few)
    before = [stopped(overrides, few, batches) for batches in (2, 8, 10)]
    reading_late(monkeypatch)
    late = train(overrides, few)
    assert late.equals(whole)
    assert late.states.losses == whole.states.losses
    for batches, expected in zip((1, 7, 9), before, strict=True):
        state = read(stopped(overrides, few, batches), tmp_path)
        assert same_but_for_time(state, read(expected, tmp_path))
        assert train(overrides, few, state).equals(whole)


def same_but_for_time(one: TrainerState, other: TrainerState) -> bool:
    places = [(each.progress.epoch, each.progress.step, each.progress.loss_sum) for each in (one, other)]
    return places[0] == places[1] and all(
        torch.equal(tensor, other.tensors[component][name])
        for component, tensors in one.tensors.items()
        for name, tensor in tensors.items()
    )


def test_a_state_with_the_count_of_an_average_is_understood(few: ImageDataset, tmp_path: Path) -> None:
    """States had it as long as PyTorch's class kept the average."""
    overrides = ["train.ema=0.9"]
    state = read(stopped(overrides, few, 7), tmp_path)
    older = copy.deepcopy(state)
    older.tensors["average"]["n_averaged"] = torch.tensor(7)
    assert train(overrides, few, older).equals(train(overrides, few))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_training_goes_on_within_an_epoch(
    few: ImageDataset, tmp_path: Path, compiler: "CompileCounterWithBackend"
) -> None:
    """Compiling again draws nothing that the training would have drawn, and is for the shapes to come."""
    overrides = ["train.compile=true", "train.epochs=2", "model.dropout=0.2"]
    overrides.append("train.progressive={start_size=6, until=0.6}")
    whole = train(overrides, few)
    # Batches of 32 and of 22 images, of 6x6 and of 8x8 pixels.
    assert compiler.frame_count == 4
    early, late = stopped(overrides, few, 4), stopped(overrides, few, 7)
    assert compiler.frame_count == 12
    assert train(overrides, few, read(early, tmp_path)).equals(whole)
    assert compiler.frame_count == 16
    assert train(overrides, few, read(late, tmp_path)).equals(whole)
    assert compiler.frame_count == 18


def test_a_state_of_another_net_or_optimiser_is_refused(few: ImageDataset, tmp_path: Path) -> None:
    state = read(train([], few).states.saved[1], tmp_path)
    for other in (
        ["model.net=C4 C8:s2 / G F10"],
        ["model.net=C4 C6 C6:s2 / G F10"],
        ["train.optimizer=muon"],
        ["train.ema=0.9"],
        ["train.lookahead={}"],
    ):
        with pytest.raises(RunError, match="of another net or optimiser"):
            train(other, few, state)


def test_no_damage_to_a_state_goes_unseen(few: ImageDataset, tmp_path: Path) -> None:
    content = train(["train.epochs=1"], few).states.saved[-1]
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


class Interrupt(Callback):
    """Ends a run in its `epoch`th epoch: as a signal would, or as a kill would."""

    def __init__(self, epoch: int, *, kill: bool = False) -> None:
        self.epoch, self.kill = epoch, kill
        self.number = 0

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.number += batch.index == 0
        if self.number == self.epoch and batch.index == 3:
            if self.kill:
                raise SystemExit(9)
            os.kill(os.getpid(), 15)
            os.kill(os.getpid(), 2)


LONGER = ["train.epochs=4", "model.net=C4 C6:s2 / G F10", "name=tiny", "train.ema=0.9"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cs.train(load("digits", LONGER), runs=tmp_path_factory.mktemp("whole")).folder


def timeless(run: Path) -> list[list[str]]:
    """The rows of metrics.csv without the columns of seconds."""
    return [line.split(",")[:-2] for line in (run / "metrics.csv").read_text().splitlines()]


def same(run: Path, other: Path) -> bool:
    hashes = {reading.sha256(each / "model.safetensors") for each in (run, other)}
    return len(hashes) == 1 and timeless(run) == timeless(other)


def interrupted(tmp_path: Path, interrupt: Interrupt, *overrides: str) -> Path:
    with pytest.raises((StoppedError, SystemExit)) as caught:
        cs.train(load("digits", [*LONGER, *overrides]), runs=tmp_path, callbacks=[interrupt])
    run = tmp_path / "tiny-1"
    assert not (run / "manifest.json").exists()
    assert not (run / ".lock").exists()
    if isinstance(caught.value, StoppedError):
        assert caught.value.exit_code == 143
        assert f"fix: `convsmith resume {run}` goes on from there" in str(caught.value)
        assert "error[E061]: interrupted by SIGTERM in epoch" in (run / "log.txt").read_text()
    return run


@pytest.mark.parametrize("kill", [False, True])
def test_a_run_goes_on_as_if_it_had_never_stopped(kill: bool, whole: Path, tmp_path: Path) -> None:
    run = interrupted(tmp_path, Interrupt(3, kill=kill))
    if kill:
        # What there is can be scored, and is no less able to go on then.
        cs.evaluate(run)
    again = cs.resume(run)
    assert again.folder == run
    assert same(run, whole)
    assert (run / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    log = (run / "log.txt").read_text()
    assert ("Resumed after epoch 2" if kill else "Resumed in epoch 3, after 4 of 19 batches") in log
    (note,) = json.loads((run / "resumed.json").read_text())
    assert (note["epochs_done"], note["batches_done"], note["changes"]) == (2, 0 if kill else 4, [])
    with pytest.raises(RunError, match="already complete: 4 of 4 epochs are done"):
        cs.resume(run)
    assert cs.evaluate(run).test == again.test


@pytest.mark.usefixtures("without_report")
def test_before_the_first_whole_epoch_too(whole: Path, tmp_path: Path) -> None:
    run = interrupted(tmp_path, Interrupt(1, kill=True))
    cs.resume(run)
    assert same(run, whole)


def test_a_run_that_was_killed_in_its_report_is_completed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("convsmith.runs.training.evaluate_run", killed)
        with pytest.raises(SystemExit):
            cs.train(load("digits", LONGER), runs=tmp_path)
    (tmp_path / "tiny-1" / "model.safetensors").unlink()
    cs.resume(tmp_path / "tiny-1")
    assert same(tmp_path / "tiny-1", whole)


@pytest.mark.usefixtures("without_report")
def test_a_finished_run_can_be_trained_for_longer(whole: Path, tmp_path: Path) -> None:
    run = cs.train(load("digits", [*LONGER, "train.stop_after=2"]), runs=tmp_path).folder
    for epochs in (1, 2):
        with pytest.raises(RunError, match=r"asked for 1|already complete"):
            cs.resume(run, epochs=epochs)
    with pytest.raises(RecipeError, match="expected 1 to 100,000"):
        cs.resume(run, epochs=0)
    cs.resume(run, epochs=3)
    assert load(str(run / "recipe.toml")).train.stop_after == 3
    cs.resume(run, epochs=4)
    assert same(run, whole)
    assert load(str(run / "recipe.toml")) == load(str(whole / "recipe.toml"))
    notes = json.loads((run / "resumed.json").read_text())
    assert [note["changes"] for note in notes] == [
        [{"field": "train.stop_after", "before": "2", "now": "3"}],
        [{"field": "train.stop_after", "before": "3", "now": "nothing"}],
    ]


@pytest.mark.usefixtures("without_report")
def test_beyond_its_schedule_a_run_is_planned_anew(tmp_path: Path) -> None:
    base = ["model.net=C4 / G F10", "name=tiny", "train.optimizer.lr=0.01"]
    for schedule in ("constant", "cosine"):
        plan = [*base, f"train.schedule={schedule}"]
        short = cs.train(load("digits", [*plan, "train.epochs=2"]), runs=tmp_path).folder
        long = cs.train(load("digits", [*plan, "train.epochs=4"]), runs=tmp_path).folder
        cs.resume(short, epochs=4)
        rates = [[row[1] for row in timeless(run)[3:]] for run in (short, long)]
        assert rates[0] == rates[1]
        # A constant rate knows of no plan: the run is that of 4 epochs from the start.
        assert same(short, long) == (schedule == "constant")


def test_what_differs_is_shown_and_needs_a_flag(tmp_path: Path) -> None:
    run = interrupted(tmp_path, Interrupt(3))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("lr = 0.01", "lr = 0.005").replace("p = 0.5", "p = 0.25"))
    before = {path.name: reading.sha256(path) for path in run.iterdir() if path.is_file()}
    with pytest.raises(RunError) as caught:
        cs.resume(run)
    assert "  augment.transforms.0.p: was 0.5, is 0.25" in str(caught.value)
    assert "  train.optimizer.lr: was 0.01, is 0.005" in str(caught.value)
    assert "--accept-changes" in str(caught.value)
    assert before == {path.name: reading.sha256(path) for path in run.iterdir() if path.is_file()}
    cs.resume(run, accept_changes=True)
    assert "Changed: train.optimizer.lr: was 0.01, is 0.005" in (run / "log.txt").read_text()
    (note,) = json.loads((run / "resumed.json").read_text())
    assert note["changes"][1] == {"field": "train.optimizer.lr", "before": "0.01", "now": "0.005"}
    assert len(timeless(run)) == 5
    cs.evaluate(run)


@pytest.mark.usefixtures("without_report")
def test_another_number_of_threads_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupted(tmp_path, Interrupt(2))
    here = machine_record()
    there = {**here, "torch_threads": 64, "packages": {**here["packages"], "torch": "1.0"}}
    monkeypatch.setattr("convsmith.runs.schema.machine_record", lambda: there)
    with pytest.raises(RunError) as caught:
        cs.resume(run)
    lines = str(caught.value).splitlines()[1:3]
    # Small steps take one thread, however many there are.
    assert lines[0] == "  machine.torch_threads: was 1, is 64"
    assert lines[1].startswith("  machine.packages.torch: was ")


@pytest.mark.usefixtures("without_report")
def test_other_batches_begin_the_epoch_anew(tmp_path: Path) -> None:
    run = interrupted(tmp_path, Interrupt(3))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch_size = 64", "batch_size = 600"))
    cs.resume(run, accept_changes=True)
    assert "Resumed after epoch 2" in (run / "log.txt").read_text()
    assert [row[0] for row in timeless(run)[1:]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "name", ["recipe.toml", "environment.json", "data.json", "metrics.csv", "log.txt", "model.safetensors"]
)
def test_damage_is_found_before_a_file_is_used(name: str, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for path in whole.iterdir():
        if path.is_file():
            (run / path.name).write_bytes(path.read_bytes())
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    uses: list[Callable[[], object]] = [
        lambda: cs.evaluate(run),
        lambda: cs.resolve(str(run)),
    ]
    if name != "recipe.toml":
        uses.append(lambda: cs.resume(run, epochs=9))
    for damaged, told in ((bytes(content), "found SHA-256"), (bytes(content[:-1]), "found ")):
        (run / name).write_bytes(damaged)
        before = {path.name: reading.sha256(path) for path in run.iterdir()}
        for use in uses:
            with pytest.raises(RunError) as caught:
                use()
            what = "not the recipe that was trained" if name == "recipe.toml" else "damaged"
            assert f"{run / name}: {what}: {told}" in str(caught.value)
            assert caught.value.exit_code == 2
        assert before == {path.name: reading.sha256(path) for path in run.iterdir()}


def test_several_damaged_files_are_told_together(whole: Path, tmp_path: Path) -> None:
    for path in whole.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "log.txt").unlink()
    (tmp_path / "data.json").write_bytes(b"{}")
    (tmp_path / "results.json").write_bytes(b"{}")
    with pytest.raises(RunError) as caught:
        cs.evaluate(tmp_path)
    assert [problem.what.split(",")[0] for problem in caught.value.problems] == [
        "damaged: found 2 bytes",
        "damaged: missing",
    ]


@pytest.mark.usefixtures("without_report")
def test_nobody_works_in_a_folder_that_is_in_use(tmp_path: Path) -> None:
    class Meddler(Callback):
        told = ""

        def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
            for use in (cs.evaluate, cs.resume):
                with pytest.raises(ConvsmithError) as caught:
                    use(tmp_path / "tiny-1")
                self.told = str(caught.value)

    meddler = Meddler()
    cs.train(load("digits", [*LONGER, "train.epochs=1"]), runs=tmp_path, callbacks=[meddler])
    assert f"in use by process {os.getpid()} on " in meddler.told
    assert " since 20" in meddler.told
    assert not list((tmp_path / "tiny-1").glob(".lock*"))


@pytest.mark.parametrize("batch", [4, 18])
def test_what_diverges_keeps_the_last_good_state(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch an update spoils the weights: the next loss shows it, or the end of the epoch."""
    real = Trainer.update_weights
    updates: list[None] = []

    def update(self: Trainer) -> None:
        real(self)
        updates.append(None)
        if len(updates) == 19 + batch + 1:
            with torch.no_grad():
                next(self.net.parameters())[0] = torch.inf

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update_weights", update)
        with pytest.raises(DivergedError) as caught:
            cs.train(load("digits", [*LONGER, "model.norm=none", "train.epochs=2"]), runs=tmp_path)
    seen = "batch 5: the loss is nan" if batch == 4 else "batch 18: block1.conv1.weight is not finite after"
    assert f"epoch 2, {seen}" in str(caught.value)
    run = tmp_path / "tiny-1"
    assert str(caught.value).splitlines()[0] in (run / "log.txt").read_text()
    assert len(load_checkpoint(run / "state.safetensors").state.history) == len(timeless(run)) - 1 == 1
    cs.resume(run)
    whole = cs.train(load("digits", [*LONGER, "model.norm=none", "train.epochs=2"]), runs=tmp_path).folder
    assert same(run, whole)


def test_results_are_looked_at_before_they_are_believed(whole: Path, tmp_path: Path) -> None:
    for path in whole.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    results = tmp_path / "results.json"
    results.write_text(results.read_text().replace('"correct": ', '"correct": 1'), encoding="utf-8")
    with pytest.raises(RunError, match=r"results\.json: damaged: found"):
        cs.resolve(str(tmp_path))


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["log.txt", "state.safetensors", "model.safetensors"])
def test_a_full_disk_ends_a_training_that_goes_on_later(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Path.open, [0]

    def full(self: Path, *arguments: str, **options: str) -> IO[bytes]:
        if name in self.name and arguments != ("rb",):
            calls[0] += 1
            if calls[0] == (20 if name == "log.txt" else 3):
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *arguments, **options)  # type: ignore[call-overload,no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(FileError) as caught:
            cs.train(load("digits", LONGER), runs=tmp_path)
    told = str(caught.value)
    assert re.search(r"No space left on device; needed [\d,]+ bytes, free are [\d,]+\n", told)
    assert str(tmp_path / "tiny-1") in told
    assert name in told
    cs.resume(tmp_path / "tiny-1")
    assert same(tmp_path / "tiny-1", whole)
