"""The progress of a run during training, when it is finished, and when it diverged."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.cli import run
from convsmith.errors import RunError
from convsmith.recipes.schema import Recipe
from convsmith.runs.progress import RunProgress
from convsmith.training.callbacks import Callback


def test_progress_from_start_to_end(tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read the progress in callbacks, as a second process would."""
    states: list[RunProgress] = []

    class Watcher(Callback):
        def on_run_start(self, folder: Path, opening: object) -> None:
            self.folder = folder

        def on_epoch_start(self, start: object) -> None:
            states.append(cs.progress(self.folder))

        def on_epoch_end(self, facts: object, net: object) -> None:
            states.append(cs.progress(self.folder))

    folder = cs.train(tiny, runs=tmp_path, callbacks=(Watcher(),)).folder
    assert [len(state.rows) for state in states] == [0, 1, 1, 2]
    assert not any(state.done for state in states)
    assert states[0].seconds_left is None
    assert states[1].seconds_left == pytest.approx(states[1].rows[0].seconds)
    assert cs.progress(folder).finished
    assert run(["watch", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert re.match(r" {4}2 \d", lines[2])
    assert lines[3] == "tiny-1: 2 of 2 epochs, finished"


def test_progress_of_an_unfinished_run(
    tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cs.train(tiny, runs=tmp_path).folder
    (folder / "manifest.json").unlink()
    rows = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join(rows[:2]) + "\n")
    assert run(["watch", str(folder), "--once"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"tiny-1: 1 of 2 epochs, about \d\d:\d\d left, last update \d+ s ago", last)
    (folder / "log.txt").write_text("12:00:00  error[E060]: epoch 2, batch 1: the loss is nan\n")
    assert run(["watch", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "tiny-1: 1 of 2 epochs, error[E060]: epoch 2, batch 1: the loss is nan"
    )


def test_a_folder_that_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        cs.progress(tmp_path)


@pytest.mark.slow
def test_a_run_of_another_process_is_watched_to_its_end(tmp_path: Path) -> None:
    code = (
        "import convsmith as cs; from pathlib import Path; "
        "recipe = cs.load_recipe('digits', 'train.epochs=2', 'model.net=C4 / G F10'); "
        f"cs.train(recipe, runs=Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as training:
        while not list(tmp_path.glob("digits-1/recipe.toml")):
            assert training.poll() is None
        watching = subprocess.run(
            [sys.executable, "-m", "convsmith", "watch", str(tmp_path / "digits-1"), "--every", "0.2"],
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert watching.returncode == 0
    assert watching.stdout.splitlines()[-1] == "digits-1: 2 of 2 epochs, finished"
