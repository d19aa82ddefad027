"""The files of a data set, as a worker of an engine sees them."""

import socket

from convsmith.data.config import DataConfig
from convsmith.data.raw import Source
from convsmith.data.sources import find_source
from convsmith.errors import DataError, ProcessError

_FIX = "mount the folder with the data on all machines under one path, or leave out --on"


def find_worker_source(config: DataConfig, now: int | None = None) -> Source:
    """Find the source of a data set in a worker.

    Args:
        config: The `[data]` table of a recipe.
        now: As for `find_source`.

    Raises:
        ProcessError: This worker does not have it.
    """
    try:
        return find_source(config, now=now)
    except DataError as error:
        raise ProcessError(
            f"the worker on {socket.gethostname()} does not have the data: {error.problems[0].what}",
            where=config.source,
            fix=_FIX,
        ) from error


def other_data(config: DataConfig, what: str = "data", hint: str = "") -> ProcessError:
    """Return the error of a worker whose data, or whose files, are not those of the main process."""
    return ProcessError(
        f"the worker on {socket.gethostname()} has other {what} than the main process, or they have changed "
        "meanwhile",
        where=config.source,
        fix=f"{_FIX}{hint}",
    )
