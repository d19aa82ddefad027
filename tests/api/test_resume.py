"""Interrupted and finished runs are resumed."""

import errno
import json
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
import torch

import convsmith as cs
from convsmith.errors import DivergedError, FileError, RecipeError, RunError
from convsmith.recipes.loader import load
from convsmith.runs.checkpoint import load_checkpoint
from convsmith.runs.conditions import changes_of
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import Change, Resumption, Resumptions, unrecorded_changes
from convsmith.system import reading
from convsmith.system.device import machine_record
from convsmith.training.trainer import Trainer

if TYPE_CHECKING:
    pass
from helpers.interrupted import (
    LONGER,
    Interrupt,
    interrupted_run,
    rows_without_seconds,
    same_weights_and_metrics,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cs.train(load("digits", LONGER), runs=tmp_path_factory.mktemp("whole")).folder


@pytest.mark.parametrize("kill", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(kill: bool, uninterrupted: Path, tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(3, kill=kill))
    if kill:
        # An unfinished run can be evaluated, and still be resumed.
        cs.evaluate(run)
    again = cs.resume(run)
    assert again.folder == run
    assert same_weights_and_metrics(run, uninterrupted)
    assert (run / "results.json").read_bytes() == (uninterrupted / "results.json").read_bytes()
    log = (run / "log.txt").read_text()
    assert ("Resumed after epoch 2" if kill else "Resumed in epoch 3, after 4 of 19 batches") in log
    (note,) = json.loads((run / "resumed.json").read_text())
    assert (note["epochs_done"], note["batches_done"], note["changes"]) == (2, 0 if kill else 4, [])
    with pytest.raises(RunError, match="already complete: 4 epochs of 4"):
        cs.resume(run)
    assert cs.evaluate(run).test == again.test


@pytest.mark.usefixtures("without_report")
def test_a_run_resumes_before_its_first_complete_epoch(uninterrupted: Path, tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(1, kill=True))
    cs.resume(run)
    assert same_weights_and_metrics(run, uninterrupted)


def test_a_run_that_was_killed_during_its_evaluation_is_completed(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("convsmith.runs.training.evaluate_run", killed)
        with pytest.raises(SystemExit):
            cs.train(load("digits", LONGER), runs=tmp_path)
    (tmp_path / "tiny-1" / "model.safetensors").unlink()
    cs.resume(tmp_path / "tiny-1")
    assert same_weights_and_metrics(tmp_path / "tiny-1", uninterrupted)


@pytest.mark.usefixtures("without_report")
def test_a_finished_run_can_be_trained_for_more_epochs(uninterrupted: Path, tmp_path: Path) -> None:
    run = cs.train(load("digits", [*LONGER, "train.stop_after=2"]), runs=tmp_path).folder
    for epochs in (1, 2):
        with pytest.raises(RunError, match=r"asked for 1|already complete"):
            cs.resume(run, epochs=epochs)
    with pytest.raises(RecipeError, match="expected 1 to 100,000"):
        cs.resume(run, epochs=0)
    cs.resume(run, epochs=3)
    assert load(str(run / "recipe.toml")).train.stop_after == 3
    cs.resume(run, epochs=4)
    assert same_weights_and_metrics(run, uninterrupted)
    assert load(str(run / "recipe.toml")) == load(str(uninterrupted / "recipe.toml"))
    notes = json.loads((run / "resumed.json").read_text())
    assert [note["changes"] for note in notes] == [
        [{"field": "train.stop_after", "before": "2", "now": "3"}],
        [{"field": "train.stop_after", "before": "3", "now": "nothing"}],
    ]


@pytest.mark.usefixtures("without_report")
def test_more_epochs_than_planned_stretch_the_schedule(tmp_path: Path) -> None:
    base = ["model.net=C4 / G F10", "name=tiny", "train.optimizer.lr=0.01"]
    for schedule in ("constant", "cosine"):
        plan = [*base, f"train.schedule={schedule}"]
        short = cs.train(load("digits", [*plan, "train.epochs=2"]), runs=tmp_path).folder
        long = cs.train(load("digits", [*plan, "train.epochs=4"]), runs=tmp_path).folder
        cs.resume(short, epochs=4)
        rates = [[row[1] for row in rows_without_seconds(run)[3:]] for run in (short, long)]
        assert rates[0] == rates[1]
        # A constant rate does not depend on the number of epochs.
        assert same_weights_and_metrics(short, long) == (schedule == "constant")


def test_changes_are_listed_and_need_a_flag(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(3))
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
    assert len(rows_without_seconds(run)) == 5
    cs.evaluate(run)


@pytest.mark.usefixtures("without_report")
def test_another_number_of_threads_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupted_run(tmp_path, Interrupt(2))
    here = machine_record()
    there = {**here, "torch_threads": 64, "packages": {**here["packages"], "torch": "1.0"}}
    monkeypatch.setattr("convsmith.runs.schema.machine_record", lambda: there)
    with pytest.raises(RunError) as caught:
        cs.resume(run)
    lines = str(caught.value).splitlines()[1:3]
    # Small steps use one thread, whatever the number of cores.
    assert lines[0] == "  machine.torch_threads: was 1, is 64"
    assert lines[1].startswith("  machine.packages.torch: was ")


@pytest.mark.usefixtures("without_report")
def test_other_instructions_are_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupted_run(tmp_path, Interrupt(2))
    here = machine_record()
    there = {**here, "instructions": "AVX2, ONEDNN_MAX_CPU_ISA=SSE41"}
    monkeypatch.setattr("convsmith.runs.schema.machine_record", lambda: there)
    with pytest.raises(RunError) as caught:
        cs.resume(run)
    line = f"machine.instructions: was {here['instructions']}, is AVX2, ONEDNN_MAX_CPU_ISA=SSE41"
    assert str(caught.value).splitlines()[1].strip().replace('"', "") == line
    cs.resume(run, accept_changes=True)
    assert "Changed: machine.instructions: was" in (run / "log.txt").read_text()


def test_conditions_that_older_checkpoints_lack_are_no_change() -> None:
    now = {"seed": "1", "machine.instructions": '"AVX2"'}
    assert changes_of({"seed": "1"}, now) == []
    assert [each.field for each in changes_of({**now, "machine.instructions": '"AVX512"'}, now)] == [
        "machine.instructions"
    ]


@pytest.mark.usefixtures("without_report")
def test_another_batch_size_restarts_the_epoch(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(3))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch_size = 64", "batch_size = 600"))
    cs.resume(run, accept_changes=True)
    assert "Resumed after epoch 2" in (run / "log.txt").read_text()
    assert [row[0] for row in rows_without_seconds(run)[1:]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("batch", [4, 18])
def test_a_diverged_run_keeps_its_last_valid_checkpoint(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update in the second epoch makes a weight infinite: the next loss or the epoch's end shows it."""
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
    assert (
        len(load_checkpoint(run / "state.safetensors").state.history)
        == len(rows_without_seconds(run)) - 1
        == 1
    )
    cs.resume(run)
    uninterrupted = cs.train(
        load("digits", [*LONGER, "model.norm=none", "train.epochs=2"]), runs=tmp_path
    ).folder
    assert same_weights_and_metrics(run, uninterrupted)


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["log.txt", "state.safetensors", "model.safetensors"])
def test_a_run_resumes_after_a_full_disk(
    name: str, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    message = str(caught.value)
    assert re.search(r"No space left on device; needed [\d,]+ bytes, free are [\d,]+\n", message)
    assert str(tmp_path / "tiny-1") in message
    assert name in message
    cs.resume(tmp_path / "tiny-1")
    assert same_weights_and_metrics(tmp_path / "tiny-1", uninterrupted)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("cosine", "step", "linear")]


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("schedule", ["one-cycle", *SLOW])
@pytest.mark.parametrize("stopped", ["in an epoch", "after an epoch", "finished"])
def test_the_recipe_of_an_extended_run_reproduces_it(schedule: str, stopped: str, tmp_path: Path) -> None:
    """Also if it was extended twice, and with smaller images first, which follow the plan too."""
    more = ["train.epochs=2", f"train.schedule={schedule}", "train.progressive={start_size=6, until=0.6}"]
    if stopped == "finished":
        run = cs.train(load("digits", [*LONGER, *more]), runs=tmp_path).folder
    else:
        run = interrupted_run(tmp_path, Interrupt(2, kill=stopped == "after an epoch"), *more)
    cs.resume(run, epochs=3)
    cs.resume(run, epochs=5)
    recipe = load(str(run / "recipe.toml"))
    first = {"finished": (2, 0), "after an epoch": (1, 0), "in an epoch": (1, 4)}[stopped]
    assert recipe.train.phases is not None
    phases = [(phase.planned, phase.epochs, phase.batches) for phase in recipe.train.phases]
    assert phases == [(2, *first), (3, 3, 0)]
    again = cs.train(recipe, runs=tmp_path / "again").folder
    assert same_weights_and_metrics(again, run)
    plain = cs.train(load(str(run / "recipe.toml"), ["train.phases=false"]), runs=tmp_path / "plain").folder
    assert not same_weights_and_metrics(plain, run)
    assert unrecorded_changes(RunFolder.open(run).find(Resumptions)) == ()


@pytest.mark.usefixtures("without_report")
def test_a_run_with_phases_resumes(tmp_path: Path) -> None:
    extension = "train.phases=[{planned=2, epochs=1, batches=5}, {planned=3, epochs=2}]"
    whole = cs.train(load("digits", [*LONGER, extension]), runs=tmp_path / "whole").folder
    for epoch in (1, 2, 3):
        run = interrupted_run(tmp_path / str(epoch), Interrupt(epoch), extension)
        cs.resume(run)
        assert same_weights_and_metrics(run, whole)


@pytest.mark.usefixtures("without_report")
def test_changes_that_the_recipe_does_not_record_are_reported(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(3))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("lr = 0.01", "lr = 0.005"))
    cs.resume(run, epochs=5, accept_changes=True)
    (note,) = unrecorded_changes(RunFolder.open(run).find(Resumptions))
    assert note == (
        "the recipe does not reproduce these weights: after epoch 2 and 4 batches, "
        "train.optimizer.lr: was 0.01, is 0.005"
    )


def test_extended_runs_of_version_0_1_0_do_not_claim_to_be_reproducible() -> None:
    change = Change(field="train.epochs", before="30", now="60")
    old = Resumption(time="", epochs_done=30, batches_done=0, changes=(change,))
    assert "train.epochs: was 30, is 60" in unrecorded_changes(Resumptions((old,)))[0]
    begun = Resumption(time="", epochs_done=0, batches_done=0, changes=(change,))
    assert unrecorded_changes(Resumptions((begun,))) == ()


def test_pages_say_whether_the_recipe_reproduces(tmp_path: Path) -> None:
    run = cs.train(load("digits", [*LONGER, "train.epochs=1"]), runs=tmp_path).folder
    first = json.loads((run / "confidence.json").read_text())
    cs.resume(run, epochs=2)
    text = (run / "README.md").read_text()
    assert "extended: the schedule was planned for 1 epochs up to epoch 1, then for 2" in text
    assert "Based on digits" in text
    assert "does not reproduce" not in text
    assert json.loads((run / "confidence.json").read_text()) != first
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("lr = 0.01", "lr = 0.005"))
    cs.resume(run, epochs=3, accept_changes=True)
    bundle = cs.export_bundle(run, tmp_path / "bundle")
    for page in (run / "README.md", run / "report.html", bundle / "README.md"):
        assert "he recipe does not reproduce these weights" in page.read_text(), page
