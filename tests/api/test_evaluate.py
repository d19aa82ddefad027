"""Evaluation on workers: the result of one process, interruptions, and what does not fit."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.errors import FileError, ProcessError, StoppedError, UsageError
from convsmith.runs import shared_inference
from convsmith.runs.session import open_run
from convsmith.runs.shared_inference import Part, RunReference, compute_part
from convsmith.system import files, signals
from convsmith.training.metrics import Outputs, compute_outputs
from helpers import inline_pool
from helpers.clusters import wait_for
from helpers.own_nets import write_nets

# Files with the outcome of an evaluation.
OUTCOME = ("results.json", "confidence.json", "predictions.npz", "explanation.npz", "report.html")


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one batch, whose workers are this process."""
    monkeypatch.setattr(shared_inference, "connect", inline_pool.connect)
    monkeypatch.setattr(shared_inference, "_PART_BATCHES", 1)
    shared_inference._opened.cache_clear()


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "tiny-1")


def outcome(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in OUTCOME}


def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each part that is computed."""
    names: list[str] = []

    def compute(part: Part) -> None:
        names.append(part.path.stem)
        compute_part(part)

    monkeypatch.setattr(shared_inference, "compute_part", compute)
    return names


def test_the_result_is_that_of_one_process(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = cs.evaluate(run)
    expected = outcome(run)
    names = computed(monkeypatch)
    shared = cs.evaluate(run, on="loky", workers=2)
    assert names == ["train-0000000000", "train-0000001000", "test-0000000000"]
    assert shared.metrics.accuracy == alone.metrics.accuracy
    assert outcome(run) == expected
    assert not (run / ".evaluation").exists()


def test_a_run_with_validation_images_on_disk(tmp_path: Path) -> None:
    """The threshold is fitted to them."""
    recipe = cs.load_recipe(
        "digits", "train.epochs=1", "data.validation=0.2", "data.keep_in=disk", "name=tiny"
    )
    run = cs.train(recipe, runs=tmp_path).folder
    expected = outcome(run)
    cs.evaluate(run, on="loky")
    assert outcome(run) == expected


def test_weights_from_a_file(module_run: Path, tmp_path: Path) -> None:
    """Naming the code of a net is enough to run it, in workers too."""
    model = write_nets(tmp_path / "code")
    arguments = (f"{model}:Net(width=6)", "name=own")
    options: dict[str, Any] = {"weights": module_run / "model.safetensors", "data": "digits"}
    alone = cs.evaluate(*arguments, **options, runs=tmp_path / "one")
    shared = cs.evaluate(*arguments, **options, runs=tmp_path / "many", on="loky")
    one, many = outcome(alone.folder), outcome(shared.folder)
    # Pages name the folder.
    del one["report.html"], many["report.html"]
    assert many == one


def test_an_interrupted_evaluation_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cs.evaluate(run)
    expected = outcome(run)

    def stop(part: Part) -> None:
        compute_part(part)
        signals.request_stop()
        wait_for(lambda: any(run.glob(".evaluation/*/.stop")), "the request")

    with monkeypatch.context() as patch:
        patch.setattr(shared_inference, "compute_part", stop)
        with pytest.raises(StoppedError, match=r"goes on from there: 1,000 of 1,797 images are done"):
            cs.evaluate(run, on="loky")
    assert outcome(run) == expected
    names = computed(monkeypatch)
    cs.evaluate(run, on="loky")
    assert names == ["train-0000001000", "test-0000000000"]
    assert outcome(run) == expected


def test_one_process_removes_what_an_interrupted_evaluation_has_left(run: Path) -> None:
    files.make_folder(run / ".evaluation" / "0123456789abcdef")
    cs.evaluate(run)
    assert not (run / ".evaluation").exists()


def test_a_stop_between_two_batches(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(*arguments: Any) -> Outputs:
        signals.request_stop()
        return compute_outputs(*arguments)

    monkeypatch.setattr(shared_inference, "compute_outputs", compute)
    with pytest.raises(StoppedError, match="in the train images from 1,000"):
        compute_part(part)
    assert not part.is_done


def test_parts_of_other_weights_are_not_used(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = files.make_folder(run / ".evaluation" / "0123456789abcdef")
    (old / "train-0000000000.npz").write_bytes(b"")
    names = computed(monkeypatch)
    cs.evaluate(run, on="loky")
    assert len(names) == 3
    assert not (run / ".evaluation").exists()


def test_a_damaged_part_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(part: Part) -> None:
        compute_part(part)
        if part.split == "test":
            np.savez(part.path, logits=np.zeros((3, 10), np.float32))

    with monkeypatch.context() as patch:
        patch.setattr(shared_inference, "compute_part", damage)
        with pytest.raises(FileError, match=r"test-0000000000\.npz.*damaged: found 3, expected 599"):
            cs.evaluate(run, on="loky")
    with pytest.raises(FileError, match="damaged"):
        cs.evaluate(run, on="loky")
    next(run.glob(".evaluation/*/test-*.npz")).unlink()
    cs.evaluate(run, on="loky")


@pytest.fixture
def part(run: Path) -> Part:
    """Two batches of training images."""
    folder, session = open_run(run)
    reference = RunReference(
        path=str(run), sha256=shared_inference._digest(folder, session), trust_code=False
    )
    return Part(run=reference, folder=str(run.parent), split="train", start=0, stop=1198)


def test_a_worker_without_the_run(part: Part, tmp_path: Path) -> None:
    host = socket.gethostname()
    with pytest.raises(ProcessError, match=rf"the worker on {host} cannot evaluate this run: no such run"):
        compute_part(replace(part, run=replace(part.run, path=str(tmp_path / "none"))))


def test_a_worker_with_another_run(part: Part) -> None:
    with pytest.raises(ProcessError, match="another run is there"):
        compute_part(replace(part, run=replace(part.run, sha256="0")))


def test_what_workers_do_not_see(run: Path) -> None:
    with pytest.raises(UsageError, match="in the memory of this process"):
        cs.evaluate(run, on="loky", module=nn.Identity())
    with pytest.raises(UsageError, match="in the memory of this process"):
        cs.evaluate(run, on="loky", data=(np.zeros((2, 8, 8), np.uint8), np.array([0, 1])))


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["evaluate", str(run), "--on", "loky", "--workers", "2"]) == 0
    assert "Accuracy" in capsys.readouterr().out
    assert run_command(["evaluate", str(run), "--workers", "2"]) == 2
    assert "workers belong to an engine" in capsys.readouterr().err
