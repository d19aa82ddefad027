"""Find a learning rate by a range test."""

from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.errors import RecipeError
from convsmith.models.start import with_start
from convsmith.models.teacher import load_teacher
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import architecture_of
from convsmith.recipes.in_memory import with_data
from convsmith.recipes.instance import with_instance
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports import charts, style
from convsmith.system import files, folders
from convsmith.training.lr_find import RangeTest

if TYPE_CHECKING:
    from torch import nn

MIN_STEPS, MAX_STEPS = 20, 100_000


def lr_find(
    recipe: Recipe,
    folder: str | Path,
    *,
    module: "nn.Module | None" = None,
    data: object = None,
    steps: int = 200,
    refresh: bool = False,
    trust_code: bool = False,
) -> RangeTest:
    """Train a new network while the learning rate grows, and find where the loss falls fastest.

    Args:
        recipe: Its batch size and optimizer are used, its schedule is not.
        folder: The folder for lr-find.png and lr-find.csv, created if necessary.
        module: An instance to use instead of the recipe's net: a copy, from its weights as they are.
        data: Data in memory, as for `train`.
        steps: Number of steps, 20 to 100,000.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        RecipeError: The network does not fit the data, or the number of steps is out of range.
        DataError: The data set does not exist or is unreadable.
    """
    recipe.check_trainable()
    folder = Path(folder)
    folders.check_destination(folder)
    if not MIN_STEPS <= steps <= MAX_STEPS:
        raise RecipeError(
            f"found {steps:,}, expected at least {MIN_STEPS}, at most {MAX_STEPS:,}",
            where="--steps",
            fix="leave --steps out, for 200 steps",
        )
    if module is not None:
        recipe = with_instance(recipe, module)
    with with_data(recipe, data) as complete:
        architecture = architecture_of(complete.model, module)
        session = Session.load(complete, architecture=architecture, refresh=refresh)
    tuning = with_start(session)
    session = tuning.session if tuning else session
    recipe = session.recipe
    teacher = load_teacher(recipe, session.data, CodeAccess(trust=trust_code))
    files.make_folder(folder)
    test = session.range_test(session.build_net(), steps=steps, teacher=teacher.teacher if teacher else None)
    rows = [f"{rate:.6g},{loss:.6g}" for rate, loss in zip(test.rates, test.losses, strict=True)]
    files.write_text(folder / "lr-find.csv", "\n".join(["learning_rate,smoothed_loss", *rows]) + "\n")
    chart = charts.range_test(test, recipe.train.optimizer.lr)
    train = recipe.train
    subtitle = f"{recipe.name}, {train.optimizer.name}: {len(test.rates)} steps of {train.batch_size} images"
    figure = charts.side_by_side([chart], "Learning-rate range test", subtitle, width=7.5)
    style.save(figure, folder / "lr-find.png")
    return test
