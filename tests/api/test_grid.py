"""Grids: their runs are those of `train`, an interrupted grid goes on, and mistakes are named."""

import csv
import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from torch import nn

import convsmith as cs
from convsmith.api import grid as grid_module
from convsmith.api.grid import GridResult
from convsmith.api.train import train_run
from convsmith.cli import run as run_command
from convsmith.data.cache import worker_source
from convsmith.data.cache.worker_data import check_worker_data
from convsmith.errors import (
    DataError,
    MissingExtraError,
    ProcessError,
    RecipeError,
    RunError,
    StoppedError,
    UsageError,
    WriteError,
)
from convsmith.runs.folder import RunFolder
from convsmith.runs.grid import GridFolder, GridReader
from convsmith.system import files, reading, signals
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics
from helpers import inline_pool
from helpers.clusters import wait_for

TINY = ("train.epochs=2", "model.net=C8 C12:s2 / G F10", "name=tiny", "train.batch_size=128")
AXES = ("seed=0..1", "train.optimizer.lr=0.01,0.03")


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "connect", inline_pool.connect)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> GridResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_module, "connect", inline_pool.connect)
        recipe = cs.load_recipe("digits", *TINY)
        return cs.grid(recipe, *AXES, runs=tmp_path_factory.mktemp("runs"), log=lines.append)


class StopAfterEpoch(Callback):
    """Requests a stop, and waits until all workers of a grid see it."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        signals.request_stop()
        wait_for(lambda: any(self.runs.glob("*/.stop")), "the request")


def weights(run: Path) -> str:
    return reading.sha256(run / "model.safetensors")


def test_each_run_is_that_of_a_plain_training(result: GridResult, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, "seed=1", "train.optimizer.lr=0.01")
    plain = cs.train(recipe, runs=tmp_path).folder
    assert weights(result.folder / "run-003") == weights(plain)
    assert RunFolder(path=result.folder / "run-003").is_finished


def test_table_and_comparison(result: GridResult, lines: list[str]) -> None:
    rows = list(csv.DictReader(result.table.read_text().splitlines()))
    assert [(row["run"], row["seed"], row["train.optimizer.lr"]) for row in rows] == [
        ("run-001", "0", "0.01"),
        ("run-002", "0", "0.03"),
        ("run-003", "1", "0.01"),
        ("run-004", "1", "0.03"),
    ]
    assert {row["state"] for row in rows} == {"complete"}
    assert result.comparison is not None
    record = json.loads((result.folder / "comparison" / "compare.json").read_text())
    assert [group["label"] for group in record["groups"]] == ["lr=0.01", "lr=0.03"]
    accuracies = {row["run"]: float(row["accuracy"]) for row in rows}
    by_lr = record["effects"]["fields"][1]
    assert by_lr["field"] == "train.optimizer.lr"
    assert [each["spread"]["mean"] for each in by_lr["values"]] == pytest.approx(
        [
            (accuracies["run-001"] + accuracies["run-003"]) / 2,
            (accuracies["run-002"] + accuracies["run-004"]) / 2,
        ]
    )
    page = result.comparison.page.read_text()
    assert "Effect of each field" in page
    assert "has seen the test images" in page
    assert lines[0].startswith("Grid: 4 runs of tiny")
    assert re.fullmatch(r"run-004 \(seed=1, lr=0\.03\): .* %; 4 of 4 runs, best test accuracy .*", lines[-1])


def test_a_grid_with_validation_images_is_judged_by_them(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, "train.epochs=1", "data.validation=0.2")
    result = cs.grid(recipe, "seed=0..1", runs=tmp_path)
    assert result.comparison is not None
    assert not result.comparison.record["effects"]["is_of_test"]
    run = result.runs[0]
    assert run.score == run.validation != run.accuracy


def test_an_interrupted_grid_goes_on(tmp_path: Path, result: GridResult) -> None:
    """The first run is stopped after its first epoch, and the others do not begin."""
    recipe = cs.load_recipe("digits", *TINY)

    def stopped(*arguments: Any, **options: Any) -> Any:
        return train_run(*arguments, **options, callbacks=[StopAfterEpoch(tmp_path)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_module, "train_run", stopped)
        with pytest.raises(StoppedError, match=r"convsmith grid --resume .*tiny-grid-1` goes on"):
            cs.grid(recipe, *AXES, runs=tmp_path)
    folder = tmp_path / "tiny-grid-1"
    assert GridFolder.open(folder).run(1).state == "begun"
    assert {GridFolder.open(folder).run(number).state for number in (2, 3, 4)} == {"missing"}
    again = cs.resume_grid(folder)
    assert [weights(folder / run.name) for run in again.runs] == [
        weights(result.folder / run.name) for run in result.runs
    ]


def test_a_run_that_fails_stops_no_other(tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", *TINY, "train.epochs=1")
    with pytest.raises(RunError, match=r"run-002 \(lr=1e6\)") as raised:
        cs.grid(recipe, "train.optimizer.lr=0.01,1e6,0.02", runs=tmp_path)
    assert "(on " in str(raised.value)
    folder = tmp_path / "tiny-grid-1"
    rows = list(csv.DictReader((folder / "runs.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert "the gradient norm nan" in rows[1]["error"]
    assert (folder / "comparison" / "compare.html").is_file()


def test_a_full_disk_stops_the_grid(
    tmp_path: Path, result: GridResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other run would fail too. When there is room again, the grid goes on."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    save = RunFolder.write_checkpoint
    with monkeypatch.context() as patch:

        def fail(folder: RunFolder, *arguments: Any, **options: Any) -> None:
            state = folder.path / "state.safetensors"
            if folder.path.name == "run-002" and state.is_file():
                raise files.write_error(state, full, 1000)
            save(folder, *arguments, **options)

        patch.setattr(RunFolder, "write_checkpoint", fail)
        with pytest.raises(WriteError, match=r"run-002/state\.safetensors.*No space left") as raised:
            cs.grid(cs.load_recipe("digits", *TINY), *AXES, runs=tmp_path)
    folder = tmp_path / "tiny-grid-1"
    assert f"`convsmith grid --resume {folder}` goes on" in str(raised.value)
    grid = GridFolder.open(folder)
    assert [grid.run(number).state for number in (1, 2, 3)] == ["complete", "begun", "missing"]
    again = cs.resume_grid(folder)
    assert [weights(folder / run.name) for run in again.runs] == [
        weights(result.folder / run.name) for run in result.runs
    ]


def test_a_worker_without_the_data_stops_the_grid(tmp_path: Path) -> None:
    """It would make every run fail that it gets."""
    check_worker_data.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        missing = DataError("no such folder", where="digits")
        patch.setattr(worker_source, "find_source", Mock(side_effect=missing))
        with pytest.raises(ProcessError, match="does not have the data: no such folder") as raised:
            cs.grid(cs.load_recipe("digits", *TINY, "train.epochs=1"), "seed=0..1", runs=tmp_path)
    folder = tmp_path / "tiny-grid-1"
    assert f"`convsmith grid --resume {folder}` goes on" in str(raised.value)
    grid = GridFolder.open(folder)
    assert [grid.run(number).state for number in (1, 2)] == ["missing", "missing"]
    assert [run.state for run in cs.resume_grid(folder).runs] == ["complete", "complete"]


def test_the_reader_estimates_from_what_is_done(result: GridResult) -> None:
    reader = GridReader(GridFolder.open(result.folder), 2)
    now = reader.read()
    assert now.seconds_left == 0
    assert now.best is not None
    assert now.best.accuracy == max(run.accuracy or 0 for run in now.runs)


@pytest.mark.parametrize(
    ("axes", "error", "what"),
    [
        (["seed=0..9999"], UsageError, "the grid has 10,000 runs"),
        (["seed=0..1", "train.epoch=1,2"], RecipeError, "train.epoch"),
        (["train.optimizer.lr=0.1,high"], RecipeError, "train.optimizer.lr"),
        (["model.net=C8 / G F10,C8 / G F"], RecipeError, "model.net"),
        (["seed"], UsageError, "expected FIELD=VALUE"),
    ],
)
def test_mistakes_leave_nothing(axes: list[str], error: type[Exception], what: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=what):
        cs.grid(cs.load_recipe("digits"), *axes, runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_does_not_answer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"nobody answers at dask://127\.0\.0\.1:9"):
        cs.grid(cs.load_recipe("digits"), "seed=0,1", on="dask://127.0.0.1:9", runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_not_installed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'convsmith\[ray\]'"):
        cs.grid(cs.load_recipe("digits", *TINY), "seed=0..1", on="ray://127.0.0.1:1", runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_grid(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such grid"):
        cs.resume_grid(tmp_path)
    (tmp_path / "grid.json").write_text('{"recipe": "a"}')
    with pytest.raises(RunError, match="damaged"):
        cs.resume_grid(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["grid"], "no recipe"),
        (["grid", "digits", "--resume", "runs"], "leave out the recipe"),
        (["grid", "digits", "seed=0..5000"], "--yes"),
        (
            ["grid", "digits", "seed=0,1", "--on", "spark"],
            "expected loky, dask://HOST:PORT or ray://HOST:PORT",
        ),
    ],
)
def test_mistakes_of_the_command_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    extra = [] if "--resume" in arguments else ["--runs", str(tmp_path)]
    assert run_command([*arguments, *extra]) == 2
    assert expected in capsys.readouterr().err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "digits"\n[train]\nepochs = 1\n[model]\nnet = "C8 C12:s2 / G F10"\n')
    assert run_command(["grid", str(recipe), "seed=0,1", "--runs", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [run["fields"] for run in printed["runs"]] == [{"seed": "0"}, {"seed": "1"}]
    assert run_command(["grid", "--resume", printed["folder"]]) == 0
    assert "2 runs of mine" in capsys.readouterr().out
