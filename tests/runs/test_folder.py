"""Files of a run folder are verified before they are used, and the folder is locked."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torch import nn

import convsmith as cs
from convsmith.errors import ConvsmithError, RunError
from convsmith.recipes.loader import load
from convsmith.system import reading
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics

if TYPE_CHECKING:
    pass
from helpers.interrupted import LONGER


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cs.train(load("digits", LONGER), runs=tmp_path_factory.mktemp("whole")).folder


@pytest.mark.parametrize(
    "name", ["recipe.toml", "environment.json", "data.json", "metrics.csv", "log.txt", "model.safetensors"]
)
def test_damage_is_detected_before_a_file_is_used(name: str, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for path in uninterrupted.iterdir():
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
    for damaged, message in ((bytes(content), "found SHA-256"), (bytes(content[:-1]), "found ")):
        (run / name).write_bytes(damaged)
        before = {path.name: reading.sha256(path) for path in run.iterdir()}
        for use in uses:
            with pytest.raises(RunError) as caught:
                use()
            what = "not the recipe that was trained" if name == "recipe.toml" else "damaged"
            assert f"{run / name}: {what}: {message}" in str(caught.value)
            assert caught.value.exit_code == 2
        assert before == {path.name: reading.sha256(path) for path in run.iterdir()}


def test_notes_are_written_after_the_training(uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    recipe = (run / "recipe.toml").read_text()
    noted = recipe + '\n[notes]\ntarget = "99 %"\nanalysis = """It\noverfits."""\n'
    (run / "recipe.toml").write_text(noted)
    assert cs.load_recipe(str(run / "recipe.toml")).notes.analysis == "It\noverfits."
    cs.evaluate(run)
    # A resumption writes the recipe with its new length.
    cs.resume(run, epochs=5)
    longer = cs.load_recipe(str(run / "recipe.toml"))
    assert (longer.train.epochs, longer.notes.target) == (5, "99 %")
    written = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(written.replace("99 %", "98 %"))
    cs.evaluate(run)
    (run / "recipe.toml").write_text(written.replace("seed = 0", "seed = 1"))
    with pytest.raises(RunError, match="not the recipe that was trained"):
        cs.evaluate(run)


def test_all_damaged_files_are_reported(uninterrupted: Path, tmp_path: Path) -> None:
    for path in uninterrupted.iterdir():
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


def test_results_are_verified_before_they_are_used(uninterrupted: Path, tmp_path: Path) -> None:
    for path in uninterrupted.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    results = tmp_path / "results.json"
    results.write_text(results.read_text().replace('"correct": ', '"correct": 1'), encoding="utf-8")
    with pytest.raises(RunError, match=r"results\.json: damaged: found"):
        cs.resolve(str(tmp_path)).judge()


@pytest.mark.usefixtures("without_report")
def test_a_run_folder_is_locked_during_training(tmp_path: Path) -> None:
    class OtherUse(Callback):
        message = ""

        def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
            for use in (cs.evaluate, cs.resume):
                with pytest.raises(ConvsmithError) as caught:
                    use(tmp_path / "tiny-1")
                self.message = str(caught.value)

    other_use = OtherUse()
    cs.train(load("digits", [*LONGER, "train.epochs=1"]), runs=tmp_path, callbacks=[other_use])
    assert f"in use by process {os.getpid()} on " in other_use.message
    assert " since 20" in other_use.message
    assert not list((tmp_path / "tiny-1").glob(".lock*"))
