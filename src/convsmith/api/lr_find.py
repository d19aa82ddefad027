"""A learning-rate range test of a recipe, with its plot and its table."""

from pathlib import Path

from convsmith.errors import RecipeError
from convsmith.models.teacher import load_teacher
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports import charts, style
from convsmith.system import files, folders
from convsmith.training.lr_find import RangeTest

FEWEST_STEPS = 20


def lr_find(recipe: Recipe, folder: Path, *, steps: int = 200) -> RangeTest:
    """Find a learning rate: train a fresh net while the rate grows, and see where the loss falls.

    Args:
        recipe: From `load_recipe`; its batch size and optimiser count, its schedule does not.
        folder: Where lr-find.png and lr-find.csv go; made where it is missing.
        steps: Of the test, at least 20.

    Raises:
        RecipeError: The net does not fit the data, or there are too few steps.
        DataError: The data set cannot be found or read.
    """
    folders.check_destination(folder)
    if steps < FEWEST_STEPS:
        raise RecipeError(f"found {steps} steps, expected at least {FEWEST_STEPS}", where="--steps")
    prepared = Session.load(recipe)
    recipe, known = prepared.recipe, load_teacher(prepared.recipe, prepared.data)
    files.make_folder(folder)
    found = prepared.range_test(prepared.build_net(), steps=steps, teacher=known.teacher if known else None)
    rows = [f"{rate:.6g},{loss:.6g}" for rate, loss in zip(found.rates, found.losses, strict=True)]
    files.write_text(folder / "lr-find.csv", "\n".join(["learning_rate,smoothed_loss", *rows]) + "\n")
    chart = charts.range_test(found, recipe.train.optimizer.lr)
    train = recipe.train
    told = f"{recipe.name}, {train.optimizer.name}: {len(found.rates)} steps of {train.batch_size} images"
    figure = charts.side_by_side([chart], "Learning-rate range test", told, width=7.5)
    style.save(figure, folder / "lr-find.png")
    return found
