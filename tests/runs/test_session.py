"""Sessions of runs, among them a run of an early version and one that was trained on another machine."""

import shutil
from pathlib import Path

import pytest
import torch

import convsmith as cs
from convsmith.errors import RecipeError
from convsmith.runs.session import open_run

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run-0.1.0"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(FIXTURE, run)
    return run


def test_a_run_of_an_early_version_resumes(old_run: Path) -> None:
    epochs = cs.load_recipe(str(old_run / "recipe.toml")).train.epochs
    result = cs.resume(old_run, epochs=epochs + 1, accept_changes=True)
    assert len((result.folder / "metrics.csv").read_text().splitlines()) == epochs + 2


def test_a_run_that_was_trained_on_cuda_is_reported_without(
    old_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = old_run / "recipe.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace('device = "auto"', 'device = "cuda"'))
    # The manifest has the checksum of the recipe before this change.
    (old_run / "manifest.json").unlink()
    _, session = open_run(old_run)
    assert session.recipe.train.device == "cuda"
    assert cs.report(old_run).report.is_file()
    with pytest.raises(RecipeError, match="this machine has no cuda device"):
        cs.evaluate(old_run)
