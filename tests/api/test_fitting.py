"""Runs with class weights, balanced sampling, clipping, early stopping and the best epoch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convsmith as cs
from convsmith.errors import RunError
from convsmith.recipes.loader import load
from convsmith.runs.checkpoint import load_checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.training.config import Phase
from helpers.interrupted import LONGER, Interrupt, interrupted_run, same_weights_and_metrics

ALL = [
    "data.validation=0.1", "train.sampling=balanced", "train.clip_gradient_norm=0.5", "train.keep=best",
    "train.monitor=loss", "train.optimizer.lr=0.3", "train.schedule=constant", "train.ema=0",
    f"train.class_weights={{{', '.join(f'{digit}={digit + 1}' for digit in range(10))}}}",
]  # fmt: skip
# Nothing improves by 2, so that the patience ends the training.
EARLY = ["data.validation=0.1", "train.early_stopping={patience=2, min_delta=2.0}", "train.schedule=constant"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cs.train(load("digits", [*LONGER, *ALL]), runs=tmp_path_factory.mktemp("whole")).folder


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("kill", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(kill: bool, whole: Path, tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, Interrupt(3, kill=kill), *ALL)
    # Files that are older or newer than the checkpoint, as after a crash between two of them.
    (run / "model.safetensors").unlink()
    cs.resume(run)
    assert same_weights_and_metrics(run, whole)


def test_the_run_says_which_epoch_was_chosen_by_what(whole: Path) -> None:
    rows = RunFolder(path=whole).metrics()
    losses = [row.validation_loss or 0.0 for row in rows]
    best = losses.index(min(losses)) + 1
    assert RunFolder(path=whole).best_epoch() == best
    assert all(row.clipped is not None for row in rows)
    log = (whole / "log.txt").read_text()
    assert "Note: weights of the classes in the loss: 0 1, 1 2, 2 3" in log
    assert "Note: balanced sampling" in log
    assert "Clipped gradients: " in log
    assert log.count("The best epoch so far by the validation split") >= 1
    sentence = f"The weights are those of epoch {best} of 4, the best by validation loss"
    for page in ("README.md", "report.html"):
        text = (whole / page).read_text()
        assert sentence in text
        assert "no epoch was selected" not in text


@pytest.mark.usefixtures("without_report")
def test_a_training_that_stopped_early_can_go_on(tmp_path: Path) -> None:
    run = cs.train(load("digits", [*LONGER, *EARLY, "train.epochs=6"]), runs=tmp_path).folder
    assert len(RunFolder(path=run).metrics()) == 3
    assert (
        "Stopped early after epoch 3: the validation accuracy has not improved (by more than 2)"
        in (run / "log.txt").read_text()
    )
    assert cs.progress(run).line() == "tiny-1: 3 of 6 epochs, stopped early, finished"
    with pytest.raises(RunError, match="already complete: stopped early after 3 epochs of 6") as caught:
        cs.resume(run)
    assert "--epochs 6" in str(caught.value)
    cs.resume(run, epochs=6)
    # The patience began anew.
    assert len(RunFolder(path=run).metrics()) == 5
    recipe = load(str(run / "recipe.toml"))
    assert recipe.train.phases == (Phase(planned=6, epochs=3),)
    again = cs.train(recipe, runs=tmp_path / "again").folder
    assert same_weights_and_metrics(run, again)


@pytest.mark.usefixtures("without_report")
def test_a_training_that_was_killed_after_its_early_stop_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("convsmith.runs.training.evaluate_run", killed)
        with pytest.raises(SystemExit):
            cs.train(load("digits", [*LONGER, *EARLY, "train.epochs=6"]), runs=tmp_path)
    run = tmp_path / "tiny-1"
    cs.resume(run)
    assert len(RunFolder(path=run).metrics()) == 3
    assert (run / "manifest.json").is_file()


def test_a_bundle_has_the_weights_of_the_best_epoch(whole: Path, tmp_path: Path) -> None:
    bundle = cs.export_bundle(whole, tmp_path / "bundle")
    best, last = load_file(whole / "model.safetensors"), load_checkpoint(whole / "state.safetensors").state
    state = load_file(bundle / "model.safetensors")
    for name, tensor in state.items():
        # The bundle may hold 16 bits.
        torch.testing.assert_close(tensor.float(), best[name].float(), rtol=1e-3, atol=1e-3)
    for name, tensor in best.items():
        assert torch.equal(tensor, last.tensors["best"][f"net.{name}"])
    epoch = RunFolder(path=whole).best_epoch()
    for page in ("README.md", "bundle.json"):
        assert f"those of epoch {epoch} of 4, the best by validation loss" in (bundle / page).read_text()
