"""A search with several workers, each a process of the search on an engine of `convsmith.cluster`."""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from convsmith.cluster.engine import Engine, connect
from convsmith.cluster.shared import SharedFolder
from convsmith.data.cache.worker_data import check_worker_data
from convsmith.errors import ProcessError, StoppedError
from convsmith.models.teacher import with_absolute_paths
from convsmith.nas.evolution import Proposal
from convsmith.nas.place import StudyPlace
from convsmith.nas.search_worker import (
    Log,
    SearchWorker,
    exhausted_line,
    failure_line,
    prepare,
    rung_line,
)
from convsmith.nas.settings import SearchSettings
from convsmith.nas.study import Trial, TrialStore
from convsmith.nas.worker import Deadline
from convsmith.system import files, locks
from convsmith.system.signals import StopRequest, stop_on_signals
from convsmith.text import plural

# Of the study's folder, with a folder for each main process; and the lock of a main process.
_WORKERS, _LOCK = ".workers", "main.lock"
# Seconds between two looks of the main process at the results.
_EVERY = 0.5
# Seconds that a worker with a signal waits for the request of the main process to stop.
_PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True)
class WorkerTask:
    """What a worker needs to take part in a search.

    Attributes:
        index: Of the worker, from 0.
        settings: Of the search.
        fingerprint: Of the data set in the main process.
        place: Of the study.
        first: The candidate of trial 0.
        limit: The number of trials of all workers; None for no limit.
        shared: The folder by which the main process stops its workers.
        is_local: Whether the worker was started by the main process, not by a cluster.
    """

    index: int
    settings: SearchSettings = field(compare=False)
    fingerprint: str
    place: StudyPlace = field(compare=False)
    first: Proposal = field(compare=False)
    limit: int | None
    shared: SharedFolder
    is_local: bool


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The workers of a search.

    Attributes:
        engine: Where they run.
        count: How many; None for one on each core of this machine, or for all of a cluster.
    """

    engine: Engine
    count: int | None = None

    def run(self, worker: SearchWorker, stop: StopRequest, end: float | None) -> None:
        """Work until the search is complete, the time limit is reached, or a stop is requested.

        Args:
            worker: The main process of the search, which trains nothing itself.
            stop: Of the main process.
            end: The time limit, by `time.monotonic`.

        Raises:
            MissingExtraError: The engine is not installed.
            ProcessError: It does not answer, its workers do not fit, or are lost again and again.
        """
        place = replace(worker.store.place, folder=worker.store.place.folder.absolute())
        settings = replace(worker.settings, recipe=with_absolute_paths(worker.settings.recipe))
        with _main_process(place.folder) as folder, connect(self.engine, folder, self.count) as pool:
            worker.log(f"{plural(pool.count, 'worker')} on {self.engine}\n")
            if pool.count == 1 and not self.engine.host:
                # joblib starts no process for it.
                worker.run(stop, Deadline(stop, end))
                return
            tasks = [
                WorkerTask(
                    index=index,
                    settings=settings,
                    fingerprint=worker.runner.data.fingerprint,
                    place=place,
                    first=worker.first,
                    limit=worker.limit,
                    shared=pool.shared,
                    is_local=not self.engine.host,
                )
                for index in range(pool.count)
            ]
            results = Results(worker.store, settings.epochs, worker.log)
            with _Watch(results, pool.shared, stop, end):
                reasons = None
                while reasons is None:
                    before = len(results.seen)
                    try:
                        reasons = {reason for _, reason in pool.run_all(work, tasks)}
                    except StoppedError as error:
                        stop.signal = stop.signal or error.exit_code - 128
                        return
                    except ProcessError:
                        # A long search survives more losses than one task may have, if it gets on.
                        results.update()
                        if len(results.seen) == before:
                            raise
            for reason in reasons - {""}:
                worker.log(exhausted_line(reason))


def work(task: WorkerTask) -> str:
    """Take part in a search until it is complete or stopped; called in a worker.

    Returns:
        Why it has no further candidates; empty unless it has run out of them.
    """
    with stop_on_signals() as stop:
        check_worker_data(task.settings.data, task.fingerprint)
        runner, _ = prepare(task.settings, task.place.folder)
        worker = SearchWorker(task.settings, runner, task.place, task.first, limit=task.limit)
        worker.run(stop, Deadline(stop, None))
        is_alone = stop.signal and task.shared.is_abandoned
    if is_alone and task.is_local:
        # An idle worker would wait for minutes for its next task.
        os._exit(1)
    if stop.signal and not is_alone and not _is_stopping(task.shared):
        # The signal was for this worker alone, whose state is saved. The engine replaces a process that ends.
        os._exit(128 + stop.signal)
    return worker.exhausted


@contextmanager
def _main_process(study: Path) -> Iterator[Path]:
    """Yield a new folder in that of a study, locked as long as this process runs, and remove it."""
    parent = files.make_folder(study / _WORKERS)
    for old in parent.iterdir():
        _remove_unless_locked(old)
    folder = files.make_folder(parent / secrets.token_hex(8))
    try:
        with locks.lock_file(folder / _LOCK, wait=True):
            yield folder
    finally:
        for each in (folder, parent):
            with contextlib.suppress(OSError):
                each.rmdir()


def _remove_unless_locked(folder: Path) -> None:
    """Remove the folder of a main process that was killed."""
    with contextlib.suppress(OSError):
        with locks.lock_file(folder / _LOCK) as is_free:
            for each in folder.iterdir() if is_free else ():
                if each.name != _LOCK:
                    each.unlink()
        folder.rmdir()


def _is_stopping(shared: SharedFolder) -> bool:
    """Return whether the main process stops, too: signals reach several processes in any order."""
    end = time.monotonic() + _PATIENCE
    while not shared.is_stopping and time.monotonic() < end:
        time.sleep(0.1)
    return shared.is_stopping


class Results:
    """Logs the results of all processes of a search as they come.

    Args:
        store: Of the study.
        epochs: Of a complete training.
        log: Called with a line for each trial that reaches a rung or fails.
    """

    def __init__(self, store: TrialStore, epochs: int, log: Log) -> None:
        self.store, self.epochs, self.log = store, epochs, log
        self.seen = {event for trial in store.trials() for event in _events(trial)}
        self._lock = threading.Lock()

    def update(self) -> None:
        """Log what is new."""
        with self._lock:
            for trial in self.store.trials():
                for event in _events(trial):
                    if event not in self.seen:
                        self.seen.add(event)
                        epoch = event[1]
                        self.log(rung_line(trial, epoch, self.epochs) if epoch else failure_line(trial))


def _events(trial: Trial) -> list[tuple[int, int]]:
    """Return number and epoch of the rungs of a trial; epoch 0 if it has failed."""
    failure = [0] if trial.state == "failed" else []
    return [(trial.number, epoch) for epoch in (*trial.accuracies, *failure)]


class _Watch:
    """A thread that logs results, and stops the workers at the time limit: engines only wait."""

    def __init__(self, results: Results, shared: SharedFolder, stop: StopRequest, end: float | None) -> None:
        self.results, self.shared, self.stop, self.end = results, shared, stop, end
        self.error: Exception | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        if self.error is not None:
            raise self.error
        if kind is None:
            self.results.update()

    def _watch(self) -> None:
        deadline = Deadline(self.stop, self.end)
        try:
            while not self.ended.wait(_EVERY):
                self.results.update()
                if self.stop.signal or deadline.passed:
                    self.shared.stop()
        # Raised in the main thread, when the workers have stopped.
        except Exception as error:  # noqa: BLE001
            self.error = error
            self.shared.stop()
