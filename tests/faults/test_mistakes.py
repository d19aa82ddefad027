"""Mistakes on the command line: each gives a short error with its fix, and nothing is written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.images import saved
from helpers.oracle import in_process

MODULE = """
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
    def forward(self, x):
        return self.layer(x)
"""


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["train", "digits", "--profil"], "no such option: --profil", "did you mean '--profile'?"),
        (["data", "verify", "digits", "--al"], "no such option: --al", "did you mean '--all'?"),
        (["train", "digits", "--runs"], "option '--runs' requires an argument", "convsmith train --help"),
        (["resume", "run", "--epochs", "x"], "found 'x', expected a whole number", "--help"),
        (["watch", "run", "--every", "inf"], "found 'inf', expected at most 86400", "--help"),
        (["summary", "digits", "--view", "x"], "'--view': 'x' is not one of 'all'", "--help"),
        (["resume", "run", "--epochs", "0"], "found '0', expected at least 1", "--help"),
        (["lr-find", "digits", "--steps", "99999999999"], "--steps: found 99,999,999,999", "leave --steps"),
        (["summary", ""], "the name of the model is empty", "name a recipe"),
        (["train", "."], ".: this folder is no recipe", "TOML file"),
        (["export", "digits", "--bundle", "b", "--out", "c"], "these go with --code", "leave them out"),
        (["export", "digits", "--bundle", "b", "--input", "3x8x8"], "these go with --code", "leave them out"),
        (["export", "digits", "--bundle", "b", "--int8"], "these go with --onnx", "add --onnx"),
        (
            ["export", "digits", "--bundle", "b", "--code", "--out", "b"],
            "b: a bundle has a folder of its own",
            "--out",
        ),
        (
            ["export", "digits", "seed=1", "--bundle", "b", "--code"],
            "seed=1: a trained model cannot be changed",
            "train it",
        ),
        (["export", "digits", "--onnx", "."], ".: this is a folder, expected a file", "name a file in it"),
    ],
)
def test_a_mistake_is_explained_and_writes_nothing(
    arguments: list[str], what: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = in_process(*arguments)
    first, *rest = ended.err.splitlines()
    assert (ended.code, ended.out, len(rest)) == (2, "", 1), ended.err
    assert what in first
    assert fix in rest[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("device", "fix"), [("gpu", "'cuda'"), ("cuda:9", "'cuda'"), ("", "'auto', 'cpu'")])
def test_an_unknown_device(device: str, fix: str, tmp_path: Path) -> None:
    image = saved(tmp_path / "image.png", np.zeros((8, 8), np.uint8))
    ended = in_process("predict", "digits", image, "--device", device)
    assert (ended.code, ended.out) == (2, "")
    assert f"device: unknown device {device!r}" in ended.err
    assert fix in ended.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--macs-factor", "inf"),
        ("--macs-factor", "nan"),
        ("--seed", "-1"),
        ("--seed", "99999999999999999999"),
        ("--trials", "99999999999999999999"),
        ("--epochs", "1000000000"),
        ("--minutes", "nan"),
        ("--factor", "1000000000"),
    ],
)
def test_numbers_of_a_search_out_of_range(option: str, value: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    study = tmp_path / "study"
    ended = in_process("search", "course-cifar10", "--recipe", "digits", "--study", str(study), option, value)
    assert ended.code == 2
    assert f"error[E030]: {option}: found " in ended.err
    assert not study.exists()


def test_a_table_is_not_written_over_the_model(tiny_run: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    source.write_text(MODULE)
    names = ("log.txt", "recipe.toml", "predictions.npz", "confidence.json", "results.json")
    before = {name: (tiny_run / name).read_bytes() for name in names}
    for arguments, target in (
        ((f"{source}:Net", "--input", "1x1x2"), source),
        *(((str(tiny_run),), tiny_run / name) for name in names),
    ):
        ended = in_process("summary", *arguments, "--csv", str(target))
        assert (ended.code, ended.out) == (2, "")
        assert "the command reads this file" in ended.err
    assert source.read_text() == MODULE
    assert {name: (tiny_run / name).read_bytes() for name in names} == before


def test_a_bundle_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")

    def fail(*_: object) -> None:
        raise AssertionError("the contents were computed first")

    monkeypatch.setattr("convsmith.exporters.bundle.bundle_contents", fail)
    for name, what in (("other", "this is no bundle, and not empty"), ("file", "this is a file")):
        ended = in_process("export", "digits", "--bundle", str(tmp_path / name), "--force")
        assert (ended.code, ended.out) == (2, "")
        assert what in ended.err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 100])
def test_names_that_are_none_of_a_notebook(name: str, tiny_run: Path, tmp_path: Path) -> None:
    ended = in_process("eject", str(tiny_run), str(tmp_path / "project"), "--notebook", name)
    assert (ended.code, ended.out) == (2, "")
    assert "not the name of a notebook" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "kept"),
    [("train", "`convsmith resume RUN`"), ("search", "the same command"), ("predict", "")],
)
def test_only_what_is_kept_is_promised(command: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = {
        "train": ("digits",),
        "search": ("course-cifar10", "--recipe", "digits"),
        "predict": ("digits", "."),
    }[command]
    monkeypatch.setattr("convsmith.recipes.loader.load", interrupt)
    monkeypatch.setattr("convsmith.models.image_inputs.image_sources", interrupt)
    monkeypatch.setattr("convsmith.load_recipe", interrupt)
    ended = in_process(command, *arguments)
    assert ended.code == 130
    assert ended.err.startswith("interrupted")
    assert kept in ended.err
    assert bool(kept) == (";" in ended.err)


@pytest.mark.parametrize(
    ("arguments", "closed", "code", "out", "err"),
    [
        ("format 'C8  / G F10'", ">&-", 0, "", ""),
        ("format C8/", "2>&-", 2, "", ""),
        ("predict digits -", "<&-", 1, "", "the file is empty"),
        ("predict digits - --json", ">&- <&-", 1, "", "the file is empty"),
    ],
)
def test_closed_streams(arguments: str, closed: str, code: int, out: str, err: str) -> None:
    command = f"{sys.executable} -m convsmith {arguments} {closed}"
    ended = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (code, out), ended.stderr
    assert err in ended.stderr
    assert bool(err) == bool(ended.stderr)
