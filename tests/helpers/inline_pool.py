"""A pool whose tasks run in the calling process, so that tests need not start workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib

from convsmith.cluster.engine import Engine
from convsmith.cluster.pool import WorkerPool
from convsmith.cluster.shared import SharedFolder


@contextmanager
def connect(engine: Engine, folder: Path, workers: int | None = None) -> Iterator[WorkerPool]:
    """Stand in for `engine.connect`."""
    del engine
    with SharedFolder.open(folder) as shared, joblib.parallel_config(backend="sequential"):
        yield WorkerPool(count=workers or 1, shared=shared)
