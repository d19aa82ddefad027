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


def test_mistakes_in_variants_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'l1 = "yes"\nrequire = [{ kind = "dropout", coutn = 3 }, []]\n'
        '[variants]\na = { normm = "batch", steps = 2 }\nb = 5\n'
    )
    with pytest.raises(RecipeError) as caught:
        load_brief(str(path))
    problems = {problem.where: (problem.what, problem.fix) for problem in caught.value.problems}
    assert problems["l1"][0].startswith("found 'yes': write a number of 0 or more, or [low, high]")
    assert problems["require.0"][0] == "unknown field 'coutn'; a kind has kind and count"
    assert problems["require.1"][0] == "an empty list of kinds: write one or more"
    assert problems["variants.a.normm"] == ("unknown field", "did you mean 'norm'?")
    # A hand-in has steps, a variant has none.
    assert problems["variants.a.steps"] == ("unknown field", "did you mean 'steps'?")
    assert problems["variants.b"][0] == "found 5, expected a table"
    assert "variants.b.norm" in problems["variants.b"][1]


def test_a_recipe_names_a_brief_and_changes_a_field() -> None:
    recipe = load("digits", ["brief.min_accuracy=0.5", "brief=course-cifar10"])
    assert (recipe.brief.max_parameters, recipe.brief.min_accuracy) == (199_999, 0.5)
    assert load("cifar10-classic").brief == load_brief("course-cifar10-blocks")
    assert load("cifar10-sprint").brief == load_brief("course-cifar10-relaxed")
