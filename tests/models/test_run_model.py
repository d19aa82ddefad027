"""A run as a model: one temperature and one threshold for predictions and all exports."""

import json
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.data.dataset import load as load_data
from convsmith.evaluation import predictions
from convsmith.evaluation.calibration import fit_confidence
from convsmith.evaluation.predictions import Predictions
from convsmith.models.resolve import resolve_trained
from convsmith.recipes.loader import load

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "run-0.1.0"


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("validation", [True, False])
def test_a_run_and_its_bundle_share_their_confidence(validation: bool, tmp_path: Path) -> None:
    overrides = [
        "train.epochs=2",
        "model.net=C8 C8:s2 / G F10",
        f"data.validation={0.3 if validation else 0.0}",
    ]
    recipe = load("digits", overrides)
    run = cs.train(recipe, runs=tmp_path).folder
    cs.evaluate(run)
    classifier = cs.load(run)
    split = load_data(recipe.data).validation if validation else load_data(recipe.data).test
    assert split is not None
    logits = classifier.logits(np.asarray(split.images))
    expected = fit_confidence(
        Predictions(logits=logits, labels=split.labels), "validation" if validation else "test"
    )
    record = json.loads((run / "confidence.json").read_text())
    assert record == pytest.approx(expected.model_dump(), abs=1e-4)
    bundle = cs.export_bundle(run, tmp_path / "bundle")
    for confidence in (
        classifier.confidence,
        cs.load(bundle).confidence,
        resolve_trained(str(run)).confidence,
    ):
        assert confidence.model_dump() == record
    assert classifier.confidence.fitted_on == ("validation" if validation else "test")
    # The report states the same temperature and what it was fitted on.
    results = json.loads((run / "results.json").read_text())["test"]["calibration"]
    assert results["temperature"] == pytest.approx(record["temperature"], rel=1e-6)
    on = "the validation images" if validation else "these predictions"
    assert results["temperature_fitted_on"] == on
    assert f"| temperature, fitted on {on} |" in (run / "README.md").read_text()
    page = (run / "report.html").read_text()
    assert f"Optimal temperature <small>fitted on {on}</small>" in page
    assert ("fitted on these test predictions" in page) == (not validation)
    sure = record["accuracy_if_sure"] is not None
    card = (bundle / "README.md").read_text()
    assert ("of those at or above it are correct on those images" in card) == sure


def test_a_run_of_version_0_1_0_fits_its_test_images() -> None:
    model = resolve_trained(str(OLD_RUN))
    assert model.confidence == fit_confidence(predictions.read(OLD_RUN / "predictions.npz"), "test")
