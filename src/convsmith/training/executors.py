"""Threads that each compute on one core."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch


def single_threaded_executor(workers: int) -> Executor:
    """Return threads that each compute on one core; a single one is the calling thread, as it is.

    >>> with single_threaded_executor(2) as executor:
    ...     list(executor.map(abs, [-1, 2]))
    [1, 2]
    """
    if workers == 1:
        return _InlineExecutor()
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


class _InlineExecutor(Executor):
    """Runs each task in the calling thread when it is submitted."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(task(*args, **kwargs))
        return future
