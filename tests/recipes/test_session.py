"""Sessions."""

import pytest

from convsmith.data.dataset import load as load_data
from convsmith.errors import RecipeError
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.fit import analyze_recipe
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session


def test_resolved_recipe_has_a_precision(tiny: Recipe) -> None:
    assert tiny.train.precision == "auto"
    assert Session.load(tiny).resolved_recipe.train.precision == "fp32"


ONE_PIXEL = ["model.net=C4 M8 P8 / F10", "train.batch_size=1"]


def test_a_batch_of_one_image_on_maps_of_one_pixel_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        Session.load(load("digits", ONE_PIXEL))
    assert "its input is 8x1x1, and a batch has one image" in str(caught.value)
    assert "fix: set train.batch_size=2, or set model.norm=none" in str(caught.value)


@pytest.mark.parametrize("more", [["train.batch_size=2"], ["model.norm=none"], ["model.net=C4 M8 / G F10"]])
def test_batches_that_batch_norm_can_normalise_are_accepted(more: list[str]) -> None:
    Session.load(load("digits", [*ONE_PIXEL, *more]))


def test_a_training_set_of_one_image_is_refused() -> None:
    recipe = load("digits", ["model.net=C4 M8 P8 / F10"])
    info = load_data(recipe.data).info
    with pytest.raises(RecipeError, match="add training images"):
        analyze_recipe(recipe, info, 1)
    assert analyze_recipe(recipe, info, 2) == analyze_notation(
        recipe.notation.net, (1, 8, 8), recipe.notation
    )
