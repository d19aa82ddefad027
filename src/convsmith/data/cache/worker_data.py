"""Check that workers have the data set of the main process."""

from functools import lru_cache

from convsmith.data.cache.cache import load_cached
from convsmith.data.cache.worker_source import find_worker_source, other_data
from convsmith.data.config import DataConfig


@lru_cache(maxsize=8)
def check_worker_data(config: DataConfig, fingerprint: str) -> None:
    """Check once that a worker has the images and labels of the main process; a copy of the files will do.

    Args:
        config: The `[data]` table of a recipe.
        fingerprint: Of the data set in the main process.

    Raises:
        ProcessError: The worker has no data or other ones.
        DataError: They cannot be decoded.
    """
    if load_cached(find_worker_source(config), config).fingerprint != fingerprint:
        raise other_data(config)
