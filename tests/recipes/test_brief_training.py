"""Recipes that train a net by the rules of a brief."""

import pytest

from convsmith.briefs.loader import brief_names, load_brief
from convsmith.briefs.schema import Brief
from convsmith.briefs.training_rules import training_checks
from convsmith.errors import RecipeError
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.settings import NetSettings
from convsmith.recipes.brief_training import recipe_of_brief, training_recipe
from convsmith.recipes.fit import subject_of
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.schema import Recipe

MODEL = {"net": "C8 / G F10"}


def recipe_for(brief: Brief, *overrides: str, base: str | None = None, data: str | None = None) -> Recipe:
    return training_recipe(brief, MODEL, name="net", base=base, data=data, overrides=overrides)


def test_the_recipe_of_a_brief_and_of_its_copy() -> None:
    brief = load_brief("course-cifar10-50k")
    assert recipe_of_brief(brief) == "cifar10-50k"
    assert recipe_of_brief(Brief.model_validate(brief.model_dump())) == "cifar10-50k"
    assert recipe_of_brief(brief.model_copy(update={"max_parameters": 3})) is None


def test_the_recipe_of_steps_is_the_last_one() -> None:
    assert recipe_of_brief(load_brief("course-a4-mnist-8k")) == "course-a4-mnist-8k-step3"


def test_a_brief_has_the_recipe_of_the_one_that_it_extends() -> None:
    assert recipe_of_brief(load_brief("course-a4-mnist-10k")) == "course-a4-mnist-8k-step3"
    task, named = load_brief("course-cifar10"), load_brief("course-a7-cifar10-200k")
    assert recipe_of_brief(named) == recipe_of_brief(task) is not None


@pytest.mark.parametrize("name", [name for name in brief_names() if name.startswith("course-")])
def test_every_brief_of_the_course_has_a_recipe_of_its_images(name: str) -> None:
    recipe = recipe_of_brief(load_brief(name))
    assert recipe is not None
    assert load(recipe).data.source in name


@pytest.mark.parametrize("brief", ["course-a5-mnist-norms", "course-a6-cifar10-norms"])
@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_a_net_is_trained_as_its_variant(brief: str, norm: str) -> None:
    rules = load_brief(brief)
    settings = NetSettings.model_validate({"norm": norm, "norm_groups": 4})
    analysis = analyze_notation("C8 C8 / G F10", (3, 32, 32), settings)
    assert recipe_of_brief(rules, analysis) == f"{brief}-{norm}"
    recipe = training_recipe(rules, MODEL, name="net", analysis=analysis)
    assert recipe.train.l1 == (1e-5 if (brief, norm) == ("course-a5-mnist-norms", "batch") else 0)
    assert recipe.brief == rules


def test_a_variant_has_its_own_rules_where_the_library_has_no_recipe() -> None:
    variants = {"group": {"norm": "group"}, "batch": {"norm": "batch", "l1": True, "epochs": 3}}
    brief = Brief.model_validate({"variants": variants})
    analysis = analyze_notation("C8 / G F10", (1, 8, 8))
    train = training_recipe(brief, MODEL, name="net", analysis=analysis, data="digits").train
    assert (train.epochs, train.l1) == (3, 1e-5)


def test_a_base_keeps_what_the_brief_leaves_open() -> None:
    base = load("mnist-5k")
    recipe = recipe_for(Brief(), base="mnist-5k")
    assert recipe.train.model_dump() == base.train.model_dump()
    assert (recipe.augment, recipe.data) == (base.augment, base.data)
    assert "the settings of the recipe mnist-5k" in recipe.description


@pytest.mark.parametrize(
    ("epochs", "batch_size", "expected"),
    [
        (None, None, (50, 256, 128)),
        ((1, 20), None, (20, 256, 128)),
        (19, 128, (19, 128, 128)),
        ((1, 60), (16, 100), (50, 100, None)),
    ],
)
def test_bounds_of_a_brief(
    epochs: int | tuple[int, int] | None,
    batch_size: int | tuple[int, int] | None,
    expected: tuple[int, int, int | None],
) -> None:
    train = recipe_for(Brief(epochs=epochs, batch_size=batch_size), base="mnist-5k").train
    assert (train.epochs, train.batch_size, train.microbatch_size) == expected


@pytest.mark.parametrize("base", [name for name in recipe_names() if "resnet18" not in name])
def test_settings_of_the_net_of_a_base_are_left_out(base: str) -> None:
    train = recipe_for(Brief(), base=base).train
    assert not train.whitening
    assert train.progressive is None
    assert train.teacher is None


def test_plain_settings_need_data() -> None:
    with pytest.raises(RecipeError, match="the training needs images"):
        recipe_for(Brief())
    recipe = recipe_for(Brief(epochs=3), "train.batch_size=7", data="mnist")
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.data.source) == (3, 7, "mnist")
    assert recipe.brief == Brief(epochs=3)


def test_a_brief_of_the_first_epochs_is_trained_for_them() -> None:
    brief = Brief.model_validate({"train_accuracy": {"epoch": 2, "min": 0.95}})
    assert recipe_for(brief, data="mnist").train.epochs == 2
    assert recipe_for(brief.model_copy(update={"min_accuracy": 0.99}), data="mnist").train.epochs == 15


@pytest.mark.parametrize("base", [None, "mnist-5k", "course-a5-mnist-norms-batch"])
def test_the_settings_pass_the_checks_of_the_training(base: str | None) -> None:
    fields = {"epochs": 3, "batch_size": [7, 64], "l1": True}
    if base is None:
        fields |= {"l1": [0.001, 0.002], "optimizer": {"name": "sgd", "lr": [0.2, 0.3], "nesterov": True}}
        fields |= {"schedule": {"name": "one-cycle", "warmup": 0.45}}
    brief = Brief.model_validate(fields)
    recipe = recipe_for(brief, base=base, data="digits")
    subject = subject_of(recipe, analyze_notation(MODEL["net"], (1, 8, 8)))
    checks = list(training_checks(brief, subject))
    assert len(checks) == len(fields)
    assert {each.verdict for each in checks} == {"pass"}


def test_an_optimizer_and_a_schedule_of_the_brief() -> None:
    brief = Brief.model_validate({"optimizer": {"name": "sgd", "lr": [0.001, 1]}, "schedule": "step"})
    train = recipe_for(brief, data="digits").train
    assert (train.optimizer.name, train.schedule.name) == ("sgd", "step")
