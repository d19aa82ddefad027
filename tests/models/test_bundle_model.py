"""Bundles as models: analysis, checks, recipe."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import convsmith as cs
from convsmith.cli import run as command
from convsmith.errors import BundleError
from helpers.bundles import rewritten


def test_a_bundle_has_the_checks_of_its_run(
    tiny_run: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["brief.min_receptive_field=5", "brief.min_accuracy=0.5", "brief.max_calibration_error=0.9"]
    outputs = []
    for folder in (tiny_run, tiny_bundle):
        for command_line in (["summary", str(folder)], ["check", str(folder), *overrides, "--json"]):
            assert command(command_line) == 0
            outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[2]
    of_run, of_bundle = (
        {each["title"]: (each["verdict"], each["found"]) for each in json.loads(text)["checks"]}
        for text in (outputs[1], outputs[3])
    )
    assert {"test accuracy", "calibration error"} < set(of_bundle)
    assert of_bundle == of_run


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: "= no TOML", "its recipe cannot be used"),
        (lambda _: "a = " + "[" * 5000, "its recipe cannot be used"),
        (lambda recipe: recipe + "\n[speed]\nlimit = 1\n", "its recipe cannot be used"),
        (lambda recipe: recipe.replace("C8 C16:s2", "C8 C16"), "its net is another"),
    ],
)
def test_an_invalid_recipe_is_refused_but_prediction_works(
    bundle_copy: Path, damage: Callable[[str], str], message: str
) -> None:
    metadata = json.loads((bundle_copy / "bundle.json").read_text())
    metadata["origin"]["recipe_toml"] = damage(metadata["origin"]["recipe_toml"])
    rewritten(bundle_copy, "bundle.json", json.dumps(metadata).encode())
    with pytest.raises(BundleError, match=message):
        _ = cs.resolve(str(bundle_copy)).recipe
    # Prediction needs no recipe.
    assert cs.load(bundle_copy).name == "tiny"


def test_the_recipe_of_a_bundle_cannot_be_changed(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["summary", str(tiny_bundle), "model.bias=true"]) == 2
    assert "a bundle's recipe cannot be changed after the training" in capsys.readouterr().err
