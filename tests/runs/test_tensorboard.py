"""Curves for TensorBoard, read by TensorBoard and compared with metrics.csv."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import convsmith as cs
from convsmith.cli import run
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder

TINY = ["train.epochs=3", "train.stop_after=2", "model.net=C4 / G F10", "name=tiny", "data.validation=0.1"]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def expected(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    rows = RunFolder(path=folder).metrics()
    names = {"learning-rate": "lr", "seconds/train": "train_seconds"}
    names["seconds/evaluation"] = "evaluation_seconds"
    for split in ("train", "validation", "test"):
        names |= {f"{kind}/{split}": f"{split}_{kind}" for kind in ("loss", "accuracy")}
    for split in ("validation", "test"):
        names[f"balanced-accuracy/{split}"] = f"{split}_balanced_accuracy"
    return {
        curve: [(row.epoch, pytest.approx(getattr(row, column), abs=1e-3, rel=1e-5)) for row in rows]
        for curve, column in names.items()
    }


def test_curves_are_written_and_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    assert run(["train", "digits", *TINY, "--tensorboard", "--runs", str(tmp_path)]) == 0
    folder = tmp_path / "tiny-1"
    assert curves(folder) == expected(folder)
    assert len(curves(folder)["loss/test"]) == 2
    # The files are in the manifest, and a resumed run continues them without the option.
    assert "tensorboard/events" in (folder / "manifest.json").read_text()
    assert run(["resume", str(folder), "--epochs", "3"]) == 0
    assert curves(folder) == expected(folder)
    assert [step for step, _ in curves(folder)["accuracy/train"]] == [1, 2, 3]


@pytest.mark.slow
def test_curves_are_off_by_default_and_can_start_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    folder = cs.train(load("digits", TINY), runs=tmp_path).folder
    assert not (folder / "tensorboard").exists()
    cs.resume(folder, epochs=3, tensorboard=True)
    assert curves(folder) == expected(folder)


def test_a_missing_extra_is_an_error_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in sys.modules if each.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert run(["train", "digits", *TINY, "--tensorboard", "--runs", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "error[E080]: --tensorboard: the curves need TensorBoard, which is not installed" in err
    assert "fix: pip install 'convsmith[tensorboard]'" in err
    assert list(tmp_path.iterdir()) == []
    folder = cs.train(load("digits", TINY), runs=tmp_path).folder
    shutil.copytree(folder, tmp_path / "copy")
    (folder / "tensorboard").mkdir()
    assert run(["resume", str(folder), "--epochs", "3"]) == 2
    assert "error[E080]" in capsys.readouterr().err
