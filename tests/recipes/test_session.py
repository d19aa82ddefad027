"""Sessions."""

from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session


def test_resolved_recipe_has_a_precision(tiny: Recipe) -> None:
    assert tiny.train.precision == "auto"
    assert Session.load(tiny).resolved_recipe.train.precision == "fp32"
