"""Search for architectures under a brief."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.loader import load_brief
from convsmith.errors import MissingExtraError, RecipeError, UsageError
from convsmith.nas.address import StorageAddress
from convsmith.nas.settings import SearchSettings, check_ranges
from convsmith.recipes.in_memory import with_data
from convsmith.recipes.schema import Recipe

if TYPE_CHECKING:
    from convsmith.nas.pool import Crew
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
    data: object = None,
    storage: str | None = None,
    on: str | None = None,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> "SearchResult":
    """Search for better networks under a brief, starting from a recipe.

    Candidates are ranked by their accuracy on held-out training images, also of imbalanced data, where the
    log and the page say so.

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
        data: Data in memory, as for `train`.
        storage: Of the trials: `sqlite:///FILE`, `postgresql://...`, `mysql://...`, or `grpc://HOST:PORT` for
            Optuna's gRPC proxy. By default a journal in the folder, which has the checkpoints in any case.
        on: Where several trials are trained at once: `"loky"` for processes of this machine,
            `"dask://HOST:PORT"` or `"ray://HOST:PORT"` for a cluster. By default they are trained one by one.
        workers: How many are trained at once; by default one for each core of this machine or of the cluster.
        log: Called with a line for each trial that reaches a rung; with `on` in a thread.

    Raises:
        MissingExtraError: Optuna, the driver of the storage, or the engine is not installed.
        UsageError: `storage` names none that processes can share, `on` no engine, or the data is in memory.
        ProcessError: The storage or the engine does not answer, or the workers do not fit.
        RecipeError: The brief is unknown, the recipe does not fit its data, or no candidate passes the brief.
        RunError: The folder, or the storage under its name, holds a search with other settings.
        DataError: The data set does not exist or is unreadable.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; completed work is kept.
    """
    _check_optuna()
    from convsmith.nas.search import search as run

    recipe.check_trainable()
    _check_fine_tuning(recipe)
    # A search changes the layers of a net in the notation.
    _ = recipe.notation
    check_ranges(
        epochs=epochs,
        factor=factor,
        macs_factor=macs_factor,
        trials=trials,
        minutes=minutes,
        seed=seed,
        workers=workers,
    )
    crew = _crew(on, workers, data)
    address = None if storage is None else StorageAddress.parse(storage)
    length = 60.0 if trials is None and minutes is None else minutes
    with with_data(recipe, data) as complete:
        settings = SearchSettings(
            recipe=complete,
            brief=load_brief(brief),
            brief_name=brief,
            epochs=epochs,
            factor=factor,
            macs_factor=macs_factor,
            seed=seed,
        )
        return run(settings, Path(study), trials=trials, minutes=length, storage=address, crew=crew, log=log)


def _check_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingExtraError(
            "a search needs Optuna, which is not installed",
            where="convsmith search",
            fix="pip install 'convsmith[search]'",
        ) from error


def _crew(on: str | None, workers: int | None, data: object) -> "Crew | None":
    """Return the workers of a search; None to train in this process."""
    from convsmith.cluster.engine import chosen_engine
    from convsmith.nas.pool import Crew

    # Before a study is created.
    engine = chosen_engine(on, workers)
    if engine is None:
        return None
    if data is not None and not isinstance(data, str | Path):
        raise UsageError(
            "found data in memory, which the workers do not see",
            where="--on",
            fix="save the arrays with np.savez, and name the file as data.source of the recipe",
        )
    return Crew(engine=engine, count=workers)


def _check_fine_tuning(recipe: Recipe) -> None:
    """Raise RecipeError for fields that name weights or layers of the recipe's own net."""
    train = recipe.train
    values = {"start_from": train.start_from, "freeze": train.freeze, "layer_rates": train.layer_rates}
    if names := [f"train.{name}" for name, value in values.items() if value is not None]:
        raise RecipeError(
            "a search trains nets of other layers, each from its initial weights",
            where=names[0],
            fix=f"leave it out ({' '.join(f'{name}=false' for name in names)}), and fine-tune what is found",
        )
