"""Built-in briefs and briefs in files."""

from pathlib import Path

import pytest

from convsmith.briefs.loader import brief_names, load_brief
from convsmith.errors import RecipeError
from convsmith.recipes.loader import load


def test_built_in_briefs_and_briefs_in_files(tmp_path: Path) -> None:
    variants = ("100k", "31k", "50k", "blocks", "dilated", "relaxed")
    course = ("course-cifar10", *(f"course-cifar10-{variant}" for variant in variants))
    assert brief_names()[-len(course) - 1 :] == (*course, "mlperf-tiny-image-classification")
    assert [name.split("-")[1] for name in brief_names()[: -len(course) - 1]] == [
        *("a1", "a2", "a3", "a4", "a4", "a5", "a6", "a7", "a8", "a9")
    ]
    plain, blocks_too = load_brief("course-cifar10"), load_brief("course-cifar10-blocks")
    assert blocks_too.model_copy(update={"blocks": None}) == plain
    own = tmp_path / "own.toml"
    own.write_text('extends = "course-cifar10"\nmax_parameters = 5\n')
    assert load_brief(str(own)) == plain.model_copy(update={"max_parameters": 5})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('brief = "course-cifar10"\n')
    assert load_brief(str(recipe)) == plain
    own.write_text("max_parameter = 5\nmin_accuracy = 2.0\n")
    with pytest.raises(RecipeError) as caught:
        load_brief(str(own))
    assert [(each.where, each.fix) for each in caught.value.problems][1] == (
        "max_parameter",
        "did you mean 'max_parameters'?",
    )
    with pytest.raises(RecipeError, match="unknown brief 'course-cifar'"):
        load_brief("course-cifar")


def test_a_recipe_names_a_brief_and_changes_a_field() -> None:
    recipe = load("digits", ["brief.min_accuracy=0.5", "brief=course-cifar10"])
    assert (recipe.brief.max_parameters, recipe.brief.min_accuracy) == (199_999, 0.5)
    assert load("cifar10-classic").brief == load_brief("course-cifar10-blocks")
    assert load("cifar10-sprint").brief == load_brief("course-cifar10-relaxed")
