"""Normalization of images: measured, or given by `data.mean` and `data.std`."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import convsmith as cs
from convsmith.data.dataset import load
from convsmith.data.normalize import Normalizer
from convsmith.errors import RecipeError
from convsmith.evaluation import predictions
from convsmith.exporters import onnx_model
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from helpers.sources import config
from helpers.trained import normalize_all, trained


def test_normalized_images_have_mean_0_and_standard_deviation_1(tiny: Recipe) -> None:
    data = Session.load(tiny).data
    images = normalize_all(data.train, Normalizer.of(data, torch.device("cpu")))
    assert images.shape == (len(data.train), 1, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    pixel = (data.train.images[3][2, 1, 0] / 255 - data.mean[0]) / data.std[0]
    assert images[3, 0, 2, 1].item() == pytest.approx(pixel, abs=1e-6)


def given(recipe: Recipe, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"mean": mean, "std": std})})


def test_a_training_normalizes_by_the_recipe(tiny: Recipe) -> None:
    data = Session.load(tiny).data
    nets = [
        trained(recipe)[0].state_dict()
        for recipe in (tiny, given(tiny, data.mean, data.std), given(tiny, (0.5,), (0.5,)))
    ]
    same, other = ([torch.equal(nets[0][name], net[name]) for name in net] for net in nets[1:])
    assert all(same)
    assert not any(other[:1])


def test_what_is_not_given_is_measured() -> None:
    measured = load(config("digits"))
    only_mean, only_std = load(config("digits", mean=[0.25])), load(config("digits", std=[0.75]))
    assert (only_mean.mean, only_mean.std) == ((0.25,), measured.std)
    assert (only_std.mean, only_std.std) == (measured.mean, (0.75,))
    # Nothing else depends on them, the fingerprint included.
    assert only_mean.fingerprint == measured.fingerprint


def test_an_old_recipe_has_neither(tiny: Recipe) -> None:
    assert not {"mean", "std"} & set(tiny.table()["data"])
    assert given(tiny, (0.5,), None).table()["data"]["mean"] == [0.5]


def test_numbers_that_do_not_fit_the_images() -> None:
    with pytest.raises(RecipeError) as caught:
        load(config("digits", mean=[0.5, 0.5, 0.5], std=[]))
    expected = """error[E030]: data.mean: found 3 numbers, expected 1: the images have 1 channel
  fix: write data.mean=[0.5], or leave it out to measure it
error[E030]: data.std: found 0 numbers, expected 1: the images have 1 channel
  fix: write data.std=[0.5], or leave it out to measure it"""
    assert str(caught.value) == expected
    # Without images, too.
    with pytest.raises(RecipeError) as caught:
        cs.check(load_recipe("digits", ["data.mean=[0.5,0.5,0.5]", "data.std=[]"]))
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mean=[1.5]", "data.mean.0: found 1.5, expected at most 1"),
        ("data.mean=0.5", "data.mean: found 0.5, expected a list"),
        ("data.std=[0]", "data.std.0: found 0, expected at least 0.0001"),
        ("data.std=[nan]", "data.std.0: found nan, expected a finite number"),
    ],
)
def test_numbers_that_are_out_of_range(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", [override])
    assert message in str(caught.value)


@pytest.mark.slow
def test_everything_follows_the_recipe(tiny: Recipe, tmp_path: Path) -> None:
    mean, std = 0.5, 0.25
    folder = cs.train(given(tiny, (mean,), (std,)), runs=tmp_path).folder
    model = cs.resolve(str(folder))
    images = np.asarray(Session.load(tiny).data.test.images)
    inputs = torch.from_numpy((images / 255 - mean) / std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = model.net()(inputs).numpy()
    # Evaluation, prediction from the run and from its bundle.
    np.testing.assert_allclose(predictions.read(folder / "predictions.npz").logits, expected, atol=1e-4)
    bundle = cs.export_bundle(folder, tmp_path / "bundle")
    for each, tolerance in ((folder, 1e-4), (bundle, 2e-2)):  # A bundle stores halves.
        logits = cs.load(each).logits(images)
        np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())
    classifier = cs.load(bundle)
    assert (classifier.preprocessing.mean, classifier.preprocessing.std) == ((mean,), (std,))
    onnx = onnx_model.metadata(classifier)
    assert (json.loads(onnx["mean"]), json.loads(onnx["std"])) == ([mean], [std])
    # The ejected project's own code.
    cs.eject(folder, tmp_path / "project", execute=False)
    specification = importlib.util.spec_from_file_location("ejected", tmp_path / "project/utils/utils.py")
    assert specification is not None
    assert specification.loader is not None
    utils = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(utils)
    pixels = utils.plain_transform()(image=images[0])["image"]
    torch.testing.assert_close(pixels, inputs[0])
