"""A run and a bundle of version 0.1.0 open, predict, are reported, and are resumed."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import convsmith as cs
from convsmith.data.dataset import load as load_data
from convsmith.evaluation import predictions
from convsmith.evaluation.predictions import Predictions
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import Resumptions
from convsmith.system import reading

FIXTURES = Path(__file__).parents[1] / "fixtures"
RUN, BUNDLE = FIXTURES / "run-0.1.0", FIXTURES / "bundle-0.1.0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(RUN, tmp_path / "run")


@pytest.fixture(scope="module")
def saved() -> Predictions:
    """The predictions that version 0.1.0 saved."""
    return predictions.read(RUN / "predictions.npz")


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.asarray(load_data(load(str(RUN / "recipe.toml")).data).test.images)


def test_results_are_read(run: Path) -> None:
    results = cs.results(run)
    assert results["test"]["correct"] == 219
    written = reading.read_json(RUN / "results.json")
    written["train"]["balanced_accuracy"] = written["test"]["balanced_accuracy"] = None
    written["test"]["balanced_accuracy_95"] = None
    if written["test"].get("calibration"):
        written["test"]["calibration"] |= {"prior": ""}
    assert results == written | {"prediction_check": None, "imbalanced": False}


@pytest.mark.slow
def test_a_run_is_evaluated_and_reported(run: Path, saved: Predictions) -> None:
    result = cs.evaluate(run)
    assert result.test.correct == 219
    again = predictions.read(run / "predictions.npz")
    np.testing.assert_allclose(again.logits, saved.logits, atol=1e-5)
    assert cs.report(run).page.read_text() == result.page.read_text()
    for name in ("results.json", "data.json"):
        before, after = (reading.read_json(folder / name) for folder in (RUN, run))
        # An evaluation also compares `predict` with itself since, and says whether the data is imbalanced.
        newer = {"prediction_check", "imbalanced"}
        assert [key for key in after if key not in newer] == list(before)


@pytest.mark.slow
def test_png_pictures_are_ejected_and_replaced(run: Path, tmp_path: Path) -> None:
    """The fixture is without its pictures; the names are those of version 0.1.0."""
    names = ("architecture", "class_accuracy", "confidence", "curves", "misclassified", "predictions")
    (run / "plots").mkdir()
    for name in names:
        Image.new("L", (8, 8)).save(run / "plots" / f"{name}.png")
    (run / "manifest.json").unlink()
    RunFolder(path=run).write_manifest()
    cs.eject(run, tmp_path / "project")
    readme = (tmp_path / "project" / "README.md").read_text()
    shown = re.findall(r"!\[[^]]*\]\((.*?)\)", readme)
    assert sorted(shown) == [f"plots/{name}.png" for name in names if name != "confidence"]
    assert all((tmp_path / "project" / path).is_file() for path in shown)
    cs.report(run)
    assert {path.suffix for path in (run / "plots").iterdir()} == {".svg"}


@pytest.mark.parametrize(("place", "tolerance"), [(RUN, 1e-5), (BUNDLE, 1e-3)], ids=["run", "bundle"])
def test_predictions_are_those_that_were_saved(
    place: Path, tolerance: float, images: NDArray[np.uint8], saved: Predictions
) -> None:
    """The bundle has the weights in fp16."""
    classifier = cs.load(str(place))
    np.testing.assert_allclose(classifier.logits(images), saved.logits, atol=tolerance)


def test_the_bundle_predicts_a_file_and_has_a_summary(
    tmp_path: Path, images: NDArray[np.uint8], saved: Predictions
) -> None:
    Image.fromarray(images[0, :, :, 0]).save(tmp_path / "digit.png")
    (answer,) = cs.predict(str(BUNDLE), [str(tmp_path / "digit.png")])
    assert answer.label == str(saved.predicted[0])
    assert cs.resolve(str(BUNDLE)).analysis.parameters == 438


@pytest.mark.slow
def test_a_run_is_resumed(run: Path) -> None:
    result = cs.resume(run, epochs=4, accept_changes=True)
    folder = RunFolder.open(run)
    assert [row.epoch for row in folder.metrics()] == [1, 2, 3, 4]
    assert folder.metrics()[:2] == RunFolder(path=RUN).metrics()
    assert folder.read(Resumptions).root[0].epochs_done == 2
    assert result.test.correct > 219
