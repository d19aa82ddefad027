"""Search for architectures under a brief."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.loader import load_brief
from convsmith.errors import MissingExtraError, RecipeError
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
    study: str | Path = "study",
    seed: int = 0,
    factor: int = 3,
    macs_factor: float = 1.5,
    log: Callable[[str], None] = lambda _: None,
) -> "SearchResult":
    """Search for better networks under a brief, starting from a recipe.

    Candidates are ranked by their accuracy on held-out training images.

    Args:
        brief: The name of a brief in the library, or a TOML file.
        recipe: The starting point, which is trial 0.
        trials: Total number of trials. Without `trials` and `minutes`, the search takes one hour.
        minutes: Time limit.
        epochs: Epochs of a full training.
        study: The folder of the search. An existing search continues, and several processes may share it.
        seed: Seed of the search.
        factor: Keep 1/factor of the trials at each rung, and multiply their epochs by it.
        macs_factor: Limit of the MACs as a multiple of the starting point's, unless the brief sets a limit.
        log: Called with a line for each trial that reaches a rung.

    Raises:
        MissingExtraError: Optuna is not installed.
        RecipeError: The brief is unknown, the recipe does not fit its data, or no candidate passes the brief.
        RunError: The folder holds a search with other settings.
        DataError: The data set does not exist or is unreadable.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; completed work is kept.
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
    recipe.check_trainable()
    if recipe.train.start_from or recipe.train.freeze is not None:
        raise RecipeError(
            "a search trains nets of other layers, each from its initial weights",
            where="train.start_from" if recipe.train.start_from else "train.freeze",
            fix="leave it out (train.start_from=false train.freeze=false), and fine-tune what is found",
        )
    # A search changes the layers of a net in the notation.
    _ = recipe.notation
    check_ranges(
        epochs=epochs, factor=factor, macs_factor=macs_factor, trials=trials, minutes=minutes, seed=seed
    )
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
    return run(settings, Path(study), trials=trials, minutes=length, log=log)
