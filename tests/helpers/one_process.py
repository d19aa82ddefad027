"""Workers of an engine for tests: in this process, in any order."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.cluster.engine import Engine
from convsmith.cluster.shared import SharedFolder


class Workers:
    """Stands for `engine.connect`.

    Args:
        seed: Of the order in which tasks run; None for their own.
        most: The number of tasks that run before an interruption; None for all.
    """

    def __init__(self, seed: int | None = 0, most: int | None = None) -> None:
        self.seed, self.most = seed, most
        self.items: list[Any] = []

    @contextmanager
    def connect(self, engine: Engine, folder: Path, workers: int | None = None) -> Iterator["_Pool"]:
        del engine
        with SharedFolder.open(folder) as shared:
            yield _Pool(count=workers or 1, shared=shared, workers=self)


class _Pool:
    def __init__(self, *, count: int, shared: SharedFolder, workers: Workers) -> None:
        self.count, self.shared, self.workers = count, shared, workers

    def run_all(
        self, function: Callable[[Any], Any], items: Iterable[Any], *, is_done: Callable[[Any], bool]
    ) -> Iterator[tuple[Any, Any]]:
        del is_done
        items = list(items)
        if self.workers.seed is not None:
            order = np.random.default_rng(self.workers.seed).permutation(len(items))
            items = [items[number] for number in order]
        for item in items:
            if self.workers.most is not None and len(self.workers.items) == self.workers.most:
                raise KeyboardInterrupt
            self.workers.items.append(item)
            yield item, function(item)
