"""Tasks that tests send to workers, which have to import them."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import RunError, StoppedError
from convsmith.system.files import write_error
from convsmith.system.signals import stop_on_signals


@dataclass(frozen=True)
class Task:
    folder: str
    number: int

    @property
    def result(self) -> Path:
        return Path(self.folder) / f"result-{self.number}"


def process_id(task: Task) -> int:
    task.result.touch()
    return os.getpid()


def killed_once(task: Task) -> int:
    """Task 1 kills its worker when the folder sees it first; the results of all are their numbers."""
    first = Path(task.folder) / "killed"
    if task.number == 1 and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    task.result.touch()
    return task.number


def killed_always(task: Task) -> None:
    del task
    os.kill(os.getpid(), signal.SIGKILL)


def stopped_once(task: Task) -> int:
    """A signal for this worker alone stops task 1 when the folder sees it first."""
    first = Path(task.folder) / "stopped"
    if task.number == 1 and not first.exists():
        first.touch()
        raise StoppedError(signal.SIGTERM, "after epoch 1")
    return task.number


def failing(task: Task) -> None:
    raise RunError(f"task {task.number} fails", where=task.folder)


def on_a_full_disk(task: Task) -> None:
    raise write_error(task.result, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def until_stopped(task: Task) -> str:
    """Wait for a request to stop, as a training does."""
    Path(task.folder, f"begun-{task.number}").touch()
    with stop_on_signals() as stop:
        for _ in range(600):
            if stop.signal:
                Path(task.folder, f"stopped-{task.number}").touch()
                return "stopped"
            time.sleep(0.05)
    return "never stopped"
