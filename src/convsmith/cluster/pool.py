"""Run tasks on the workers of an engine, and run those of lost workers again."""

import signal
import socket
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from convsmith.cluster.shared import SharedFolder
from convsmith.errors import ConvsmithError, ProcessError, StoppedError
from convsmith.system.progress import show_progress
from convsmith.system.signals import StopRequest, stop_on_signals

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")
# Times that workers may be lost without a finished task in between.
_MAX_LOSSES = 3
# What the engines raise if a worker ends, by name: an engine need not be installed.
_LOSSES = {"TerminatedWorkerError", "KilledWorker", "RayActorError", "WorkerCrashedError", "NodeDiedError"}
_STOPPED: Final = "stopped"
_INTERVAL = 0.2


@dataclass(frozen=True, kw_only=True)
class WorkerPool:
    """The workers of an engine, inside of `engine.connect`.

    Attributes:
        count: How many tasks run at once.
        shared: The folder that all workers see.
        streams: Whether results arrive as tasks finish; otherwise when all have finished.
    """

    count: int
    shared: SharedFolder
    streams: bool = True

    def run_all(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        is_done: Callable[[T], bool] = lambda _: False,
    ) -> Iterator[tuple[T, R]]:
        """Yield each item with the result of `function`, as tasks finish.

        If a worker is killed or stopped by a signal, the items that are not done run again, so that a task
        has to go on from what an earlier one has left. Ctrl-C and SIGTERM ask all workers to stop, as they
        would a command of their own. After `shared.stop()` the iteration ends, with tasks left.

        Args:
            function: Of a module; called in a worker.
            items: The arguments; picklable, as the results are. They begin in this order.
            is_done: Whether an item needs no further run after a loss. It is not yielded then.

        Raises:
            ProcessError: Workers have another version, do not see the folder, or are lost several times
                without a finished task in between.
            StoppedError: Of this process, after all workers have stopped.
        """
        left, losses = list(items), 0
        total = len(left)
        with stop_on_signals() as stop, _Announcement(stop, self.shared):
            while left:
                try:
                    for item, result in self._run_once(function, left):
                        left.remove(item)
                        losses = 0
                        yield item, result
                    reason = "signals have stopped them"
                except Exception as error:
                    if not stop.signal and not _is_loss(error):
                        raise
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                # A caller that has asked all workers to stop knows why, at a time limit for example.
                if not left or stop.signal or self.shared.is_stopping:
                    break
                losses += 1
                left = [item for item in left if not is_done(item)]
                if losses == _MAX_LOSSES:
                    raise _lost(reason, len(left), total)
            if stop.signal:
                raise StoppedError(stop.signal, f"with {len(left)} of {total} tasks left")

    def _run_once(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Yield what finishes before a worker is lost; of stopped tasks nothing."""
        import joblib

        tasks = [joblib.delayed(_call)(function, item, self.shared) for item in items]
        results = joblib.Parallel(return_as="generator_unordered" if self.streams else "list", batch_size=1)(
            tasks
        )
        for result in results:
            if result[0] != _STOPPED:
                yield result[1], result[2]


class _Announcement:
    """Tells all workers that this process was asked to stop; a thread, as the engines only wait."""

    def __init__(self, stop: StopRequest, shared: SharedFolder) -> None:
        self.stop, self.shared = stop, shared
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.ended.wait(_INTERVAL):
            if self.stop.signal:
                self.shared.stop()
                return


def _call(function: Callable[[T], R], item: T, shared: SharedFolder) -> tuple[Any, ...]:
    """Run a task in a worker."""
    shared.check()
    if shared.is_stopping or shared.is_abandoned:
        return (_STOPPED,)
    if not shared.is_main:
        _prepare_worker()
    try:
        with shared.stoppable():
            return ("done", item, function(item))
    except StoppedError:
        return (_STOPPED,)
    except ProcessError:
        # These name their host.
        raise
    except ConvsmithError as error:
        if shared.is_main:
            raise
        raise _on_this_host(error) from error


def _prepare_worker() -> None:
    """Leave progress lines and the signals of a terminal, which reach workers too, to the main process."""
    show_progress(show=False)
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def _on_this_host(error: ConvsmithError) -> ConvsmithError:
    """Name the worker's machine: its disk may be full, or it may lack what others have."""
    host = socket.gethostname()
    return type(error).of(replace(each, where=f"{each.where} on the host {host}") for each in error.problems)


def _is_loss(error: Exception) -> bool:
    """Return whether an error says that a worker has ended, not that a task failed."""
    names = {each.__name__ for each in type(error).__mro__}
    return isinstance(error, BrokenProcessPool) or not names.isdisjoint(_LOSSES)


def _lost(reason: str, left: int, total: int) -> ProcessError:
    return ProcessError(
        f"workers were lost {_MAX_LOSSES} times: {reason}",
        where=f"{left} of {total} tasks left",
        fix="see whether memory ran out, and use fewer workers (--workers 1); the same command goes on",
    )
