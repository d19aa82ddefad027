"""The recipe that trains a net by the rules of a brief."""

from collections.abc import Mapping, Sequence
from typing import Any

from convsmith.briefs.bounds import ends, within
from convsmith.briefs.checks import nearest_variant
from convsmith.briefs.loader import base_brief, brief_names, load_brief
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.training_rules import l1_within
from convsmith.errors import RecipeError, ShapeError
from convsmith.modules.architecture import architecture_of
from convsmith.net.analysis import Analysis
from convsmith.recipes.loader import (
    brief_name_of,
    from_table,
    load,
    load_data_config,
    recipe_names,
)
from convsmith.recipes.schema import Recipe

# Where neither the user nor the library has a recipe: these train most nets.
_PLAIN: dict[str, Any] = {
    "epochs": 15,
    "batch_size": 128,
    "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "schedule": {"name": "one-cycle"},
}
# Settings of another course of training than that of a base, and those that suit the base's own net only.
_LEFT_OUT = (
    "stop_after", "phases", "whitening", "progressive", "teacher", "distillation", "start_from", "head",
    "freeze", "freeze_epochs", "layer_decay", "layer_rates",
    "early_stopping", "keep", "monitor",
)  # fmt: skip


def recipe_of_brief(brief: Brief, analysis: Analysis | None = None) -> str | None:
    """Return the name of the library's recipe for a brief, the shortest training; None if there is none.

    A copy of a brief in a file is recognised by its content. Of a brief with steps it is the last step, to
    which the others lead. A brief without a recipe has that of the brief that it extends.

    Args:
        brief: The brief.
        analysis: The net to be trained. Of a brief with variants, it gets the recipe of its own variant.

    Example:
        >>> recipe_of_brief(load_brief("course-cifar10-relaxed")), recipe_of_brief(Brief())
        ('cifar10-sprint', None)
    """
    names: set[str | None] = {name for name in brief_names() if load_brief(name) == brief}
    recipes: list[str] = []
    while names and not recipes:
        # Recipes of variants extend one another; other ones that extend a recipe are shorter or longer.
        inherit = bool(brief.variants)
        recipes = [name for name in recipe_names() if brief_name_of(name, inherit=inherit) in names]
        names = {base_brief(name) for name in names if name} - {None}
    if brief.steps is not None:
        recipes.reverse()
    if brief.variants and analysis is not None:
        variant = nearest_variant(brief, Subject(analysis=analysis))
        recipes = [name for name in recipes if _has_variant(name, brief, variant, analysis)] or recipes
    return min(recipes, key=lambda name: load(name).train.epochs, default=None)


def _has_variant(name: str, brief: Brief, variant: str, analysis: Analysis) -> bool:
    """Return whether the net of a recipe, on the images of another net, is of a variant."""
    try:
        channels, height, width = analysis.input_shape
        own = architecture_of(load(name).model).analyze((channels, height, width))
    except (ShapeError, ValueError):
        return False
    return nearest_variant(brief, Subject(analysis=own)) == variant


def training_recipe(
    brief: Brief,
    model: Mapping[str, Any],
    *,
    name: str,
    analysis: Analysis | None = None,
    base: str | Recipe | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """Return a recipe that trains a net by the rules of a brief; its description names its settings.

    Args:
        brief: Epochs and batch size that are outside its bounds become its upper bounds; an L1 penalty of
            the brief is added.
        model: The `[model]` table.
        name: Of the run.
        analysis: That of the net, if it is known: a brief with variants has rules for each.
        base: A recipe, or its name, whose other settings are used; by default that of the library for the
            brief, else plain ones without augmentation.
        data: A data set; by default that of the base.
        overrides: Fields of the recipe, as `key=value`.

    Raises:
        RecipeError: The data are not known, or the recipe or an override is invalid.

    Example:
        >>> recipe = training_recipe(Brief(epochs=3), {"net": "C8 / G F10"}, name="net", data="digits")
        >>> recipe.train.epochs, recipe.train.optimizer.name
        (3, 'adamw')
    """
    base = base or recipe_of_brief(brief, analysis)
    if isinstance(base, str):
        base = load(base)
    if brief.variants and analysis is not None:
        rules = brief.with_variant(nearest_variant(brief, Subject(analysis=analysis)))
    else:
        rules = brief
    table = base.table() if base else {"train": {**_PLAIN}}
    kept = {key: value for key, value in table.items() if key in {"data", "augment", "train", "seed"}}
    if data is not None:
        kept["data"] = load_data_config(data).model_dump(mode="json", exclude_none=True)
    elif "data" not in kept:
        raise RecipeError(
            "the training needs images",
            where="--data",
            fix="name a data set or a folder, for example --data mnist, or a recipe: --recipe mnist-5k",
        )
    kept["train"] = _train(kept["train"] if base else _plain(rules), rules)
    settings = f"the settings of the recipe {base.name}" if base else "plain settings, without augmentation"
    description = f"Trained by the rules of the brief, with {settings}"
    kept |= {"name": name, "model": dict(model), "description": description}
    return from_table(kept, overrides).model_copy(update={"brief": brief})


def _plain(brief: Brief) -> dict[str, Any]:
    """Return settings that train most nets, with optimizer and schedule within the limits of a brief."""
    rules = {"optimizer": brief.optimizer, "schedule": brief.schedule}
    named = {field: rule.default_settings for field, rule in rules.items() if rule is not None}
    # A brief of the first epochs alone is a task to learn fast: a longer schedule would warm up in them.
    first = brief.train_accuracy
    short = {"epochs": first.epoch} if first is not None and brief.min_accuracy is None else {}
    return {**_PLAIN, **named, **short}


def _train(train: Mapping[str, Any], brief: Brief) -> dict[str, Any]:
    train = {name: value for name, value in train.items() if name not in _LEFT_OUT}
    for name in ("epochs", "batch_size"):
        bound = getattr(brief, name)
        if bound is not None and not within(train[name], ends(bound)):
            train[name] = ends(bound)[1]
    if brief.l1 is not None:
        train["l1"] = l1_within(brief.l1, train.get("l1", 0.0))
    if train["batch_size"] % train.get("microbatch_size", 1):
        del train["microbatch_size"]
    return train
