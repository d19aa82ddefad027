"""Work in threads: results in the order of the items, bounded memory, and an end at once when interrupted."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
# Items per thread that are submitted ahead of the one that is due.
_AHEAD = 4


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_workers() -> int:
    """Return the number of threads for work that shares nothing: one per core this process may use.

    `OMP_NUM_THREADS` limits it, as it limits PyTorch, and so does `torch.set_num_threads`.

    Example:
        >>> 1 <= num_workers() <= (os.cpu_count() or 1)
        True
    """
    limits = [num_cores()]
    # "4,2" is a limit for each level of nesting.
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if text.isdecimal() and int(text) > 0:
        limits.append(int(text))
    if torch := sys.modules.get("torch"):
        limits.append(torch.get_num_threads())
    return min(limits)


class Interrupted(Exception):  # noqa: N818 - no error, and nobody sees it
    """The work that a thread waits for has ended."""


class Budget:
    """A number of bytes that threads share. A request waits until it fits, or until nothing else is held.

    Attributes:
        limit: In bytes. A single request may exceed it, while it is the only one.
        highest: The most bytes that were held at once.

    Example:
        >>> budget = Budget(100)
        >>> budget.acquire(70); budget.release(70); budget.acquire(300); budget.highest
        300
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.highest, self._held, self._closed = limit, 0, 0, False
        self._changed = threading.Condition()

    def acquire(self, amount: int) -> None:
        """Wait for some bytes. Raises Interrupted if the budget is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._held or self._held + amount <= self.limit
            )
            if self._closed:
                raise Interrupted
            self._held += amount
            self.highest = max(self.highest, self._held)

    def release(self, amount: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold some bytes for the block."""
        self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)

    def close(self) -> None:
        """End all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, stop: Callable[[], None] = lambda: None
) -> Generator[R, None, None]:
    """Yield `function(item)` of each item, in their order, computed by threads.

    Items are taken one by one, and at most four per thread ahead of the result that is due. With one
    worker no thread is started. Close the iterator (`contextlib.closing`) where the caller may raise: then
    no further item is begun, and no thread runs any more.

    Args:
        function: Called from several threads. Its exceptions are raised for the item that is due.
        items: Iterated in the calling thread.
        workers: The number of threads.
        stop: Called when the iteration ends early, to end what the function waits for.

    Example:
        >>> list(ordered_map(str, range(5), workers=2))
        ['0', '1', '2', '3', '4']
    """
    if workers == 1:
        yield from map(function, items)
        return
    pending: deque[Future[R]] = deque()
    executor = ThreadPoolExecutor(workers)
    complete = False
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > _AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        complete = True
    finally:
        if not complete:
            stop()
        executor.shutdown(wait=True, cancel_futures=True)
