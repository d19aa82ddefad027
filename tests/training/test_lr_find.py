"""The learning-rate range test."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cli import run
from convsmith.errors import RecipeError
from convsmith.recipes.loader import load
from convsmith.training.lr_find import analyze_losses, smooth_losses

RATES = np.geomspace(1e-6, 10, 200)


def test_suggestion_is_the_steepest_descent() -> None:
    """A loss that falls from 2.3 to 0.5 around a rate of 1e-3, and diverges at 1."""
    losses = 2.3 - 1.8 / (1 + (1e-3 / RATES) ** 2) + np.where(RATES > 1, 20 * (RATES - 1), 0)
    found = analyze_losses(RATES, losses.tolist())
    assert found.suggestion is not None
    # The smoothed loss lags behind by about ten steps, a factor of 2.2.
    assert 1e-3 <= found.suggestion <= 3e-3
    assert found.suggestion < found.best <= 1.2
    assert found.diverged


def test_rising_loss_has_no_suggestion() -> None:
    assert analyze_losses(RATES, np.linspace(2.3, 2.5, 200).tolist()).suggestion is None
    short = analyze_losses(RATES, [2.3, 2.4, 9.0])
    assert short.suggestion is None
    assert short.diverged


def test_smoothing_against_its_formula() -> None:
    losses = np.random.default_rng(0).random(30)
    for count in (1, 7, 30):
        weights = 0.9 ** np.arange(count)[::-1]
        expected = (weights * losses[:count]).sum() / weights.sum()
        assert smooth_losses(losses.tolist())[count - 1] == pytest.approx(expected)


def test_range_test_writes_files(tmp_path: Path) -> None:
    recipe = load("digits", ["model.net=C8 C16:s2 / G F10", "train.optimizer=sgd"])
    found = cs.lr_find(recipe, tmp_path / "new")
    again = cs.lr_find(recipe, tmp_path / "again")
    assert (found.losses == again.losses).all()
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 1
    assert found.suggestion <= found.best
    rows = list(csv.DictReader((tmp_path / "new" / "lr-find.csv").read_text().splitlines()))
    assert [float(row["smoothed_loss"]) for row in rows] == pytest.approx(found.losses, rel=1e-4)
    with Image.open(tmp_path / "new" / "lr-find.png") as image:
        assert image.size[0] >= 1000


def test_range_test_with_several_optimizers(tmp_path: Path) -> None:
    recipe = load("digits", ["model.net=C8 C16:s2 / G F10", "train.optimizer=muon"])
    assert cs.lr_find(recipe, tmp_path, steps=60).suggestion is not None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["lr-find", "digits", "model.net=C8 / G F10", "--out", str(tmp_path)]
    assert run([*arguments, "--steps", "80"]) == 0
    out = capsys.readouterr().out
    assert "Recipe: 0.01" in out
    assert "Suggestion: " in out
    assert f"Plot: {tmp_path / 'lr-find.png'}" in out
    assert run([*arguments, "--steps", "3"]) == 2
    assert "expected at least 20" in capsys.readouterr().err
    with pytest.raises(RecipeError):
        cs.lr_find(load("digits"), tmp_path, steps=0)
