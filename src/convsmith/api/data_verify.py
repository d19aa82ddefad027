"""Verify a data set."""

from convsmith.cluster.engine import chosen_engine
from convsmith.data.checks.verify import verify
from convsmith.data.issues import Verification
from convsmith.recipes.in_memory import data_config


def verify_data(
    name: object,
    *overrides: str,
    refresh: bool = False,
    near_duplicates: bool = False,
    on: str | None = None,
    workers: int | None = None,
) -> Verification:
    """Decode every image of a data set as a training does, and report every issue. Nothing is modified.

    Args:
        name: The name or TOML file of a recipe, or a value of `data.source`: a name, a folder, `owner/name`;
            or data in memory, as for `train`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.
        refresh: Also remove the data set from the cache, so that every command decodes it again.
        near_duplicates: Also find flipped, rotated, shifted, brighter, duller and recompressed copies.
        on: Share the images out: `"loky"` for processes of this machine, `"dask://HOST:PORT"` or
            `"ray://HOST:PORT"` for a cluster. The result is the same. After an interruption the same call
            goes on where it was.
        workers: How many parts of the images are decoded at once, by default as many as the engine can.

    Raises:
        DataError: The data set does not exist or is unreadable.
        UsageError: `on` names no engine, or the data are in memory and `on` is set.
        MissingExtraError: The engine is not installed.
        ProcessError: The cluster does not answer, or a worker has another version or other data.

    Example:
        >>> import convsmith as cs
        >>> verification = cs.verify_data("digits")
        >>> verification.clean, verification.issues
        (True, ())
    """
    engine = chosen_engine(on, workers)
    with data_config(name, overrides) as config:
        return verify(
            config, refresh=refresh, near_duplicates=near_duplicates, engine=engine, workers=workers
        )
