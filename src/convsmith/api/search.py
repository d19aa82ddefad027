"""Architecture search."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.loader import load_brief
from convsmith.errors import MissingExtraError
from convsmith.nas.settings import SearchSettings, check_ranges
from convsmith.recipes.schema import Recipe

if TYPE_CHECKING:
    from convsmith.nas.search import SearchResult


def search(
    brief: str,
    recipe: Recipe,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    epochs: int = 5,
    study: Path = Path("study"),
    seed: int = 0,
    factor: int = 3,
    macs_factor: float = 1.5,
    log: Callable[[str], None] = lambda _: None,
) -> "SearchResult":
    """Search for better nets under a brief, around a recipe, by accuracy on held-out training images.

    Args:
        brief: A name on the shelf, or a file.
        recipe: The starting point, from `load_recipe`; it is trial 0.
        trials: How many in all; one hour is searched where neither this nor `minutes` is given.
        minutes: How long.
        epochs: Of a candidate's whole training.
        study: The folder of the search; one that was begun goes on, and several processes may share it.
        seed: Of what is tried.
        factor: One trial in so many goes on from a rung, for so many times the epochs.
        macs_factor: No candidate takes more than so many times the starting point's MACs, unless the brief
            has a limit of its own.
        log: Called with a line for each trial that reaches a rung.

    Raises:
        MissingExtraError: Optuna is not installed.
        RecipeError: No such brief, the recipe does not fit its data, or nothing near it passes the brief.
        RunError: The study was begun with other settings.
        DataError: The data set cannot be found or read.
        StoppedError: Ctrl-C or SIGTERM; all that was done is kept.
    """
    try:
        from convsmith.nas.search import search as run
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingExtraError(
            "a search needs Optuna, which is not installed",
            where="convsmith search",
            fix="pip install 'convsmith[search]'",
        ) from error
    check_ranges(epochs=epochs, factor=factor, macs_factor=macs_factor, trials=trials, minutes=minutes)
    settings = SearchSettings(
        recipe=recipe,
        brief=load_brief(brief),
        brief_name=brief,
        epochs=epochs,
        factor=factor,
        macs_factor=macs_factor,
        seed=seed,
    )
    length = 60.0 if trials is None and minutes is None else minutes
    return run(settings, study, trials=trials, minutes=length, log=log)
