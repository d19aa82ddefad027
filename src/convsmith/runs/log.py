"""The training log in the form of the course, as plain lines for log.txt and for pipes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from convsmith.runs.folder import RunFolder
from convsmith.system import files, paths, progress, reading
from convsmith.text import format_duration, percent, printable
from convsmith.training.callbacks import Callback, EpochStart
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState


def batch_line(batch: BatchMetrics) -> str:
    """Format the progress within an epoch as the course does.

    >>> batch_line(BatchMetrics(index=390, loss=1.67641, accuracy=0.33171))
    'Loss=1.6764 Batch_id=390 Accuracy=33.17'
    """
    return f"Loss={batch.loss:.4f} Batch_id={batch.index} Accuracy={100 * batch.accuracy:.2f}"


def remaining_seconds(durations: Sequence[float], epochs: int) -> float:
    """Estimate the duration of the remaining epochs by the mean of the completed ones.

    >>> remaining_seconds([2.0, 4.0], epochs=5)
    9.0
    """
    return sum(durations) / len(durations) * (epochs - len(durations))


class LogWriter(Callback):
    """Writes the log as plain lines, each by a call of `write`."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a writer.

        Args:
            write: Called with each line.
            every: Seconds between two lines within an epoch; None for one line at its end.
            clock: Returns seconds.
        """
        self.write = write
        self.every, self.clock = every, clock
        self.shows_progress = every is not None
        self.epoch_start = self.last_line = clock()
        self.lr: float | None = None
        self.start: EpochStart | None = None
        self.last_batch: BatchMetrics | None = None
        self.durations: list[float] = []
        self.best, self.stop_reason = 0, ""

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        del folder
        # A run of its own, even if the same writer showed others before.
        self.lr, self.durations, self.best, self.stop_reason = None, [], 0, ""
        for line in opening:
            self.write(line)

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        del net
        self.durations = [each.seconds for each in state.history]
        progress = state.progress
        place = f"after epoch {progress.epoch - 1}"
        if progress.step:
            place = f"in epoch {progress.epoch}, after {progress.step} of {state.num_batches} batches"
        self.write(f"Resumed {place}")

    def on_compile_end(self, seconds: float) -> None:
        self.write(f"Compiled in {format_duration(seconds)}, not included in the time of any epoch")

    def on_epoch_start(self, start: EpochStart) -> None:
        self.start = start
        self.epoch_start = self.last_line = self.clock()
        self.write(f"Epoch {start.epoch}")
        if start.lr != self.lr:
            self.write(f"Learning rate: {start.lr:.4e}")
            self.lr = start.lr

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.last_batch = batch
        now = self.clock()
        if self.every is None or self.start is None or now - self.last_line < self.every:
            return
        self.last_line = now
        done, total, elapsed = batch.index + 1, self.start.num_batches, now - self.epoch_start
        rate = done / max(elapsed, 1e-9)
        self.write(
            f"Train: {batch_line(batch)}: {100 * done // total}% {done}/{total} "
            f"[{format_duration(elapsed)}<{format_duration((total - done) / rate)}, {rate:.2f}it/s]"
        )

    def on_best_epoch(self, metrics: EpochMetrics, net: nn.Module) -> None:
        del net
        self.best = metrics.epoch

    def on_early_stop(self, reason: str) -> None:
        self.stop_reason = reason

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        del net
        assert self.start is not None
        assert self.last_batch is not None
        self.durations.append(metrics.seconds)
        batches = self.start.num_batches
        rate = batches / max(metrics.train_seconds, 1e-9)
        self.write(
            f"Train: {batch_line(self.last_batch)}: 100% {batches}/{batches} "
            f"[{format_duration(metrics.train_seconds)}, {rate:.2f}it/s]"
        )
        if metrics.validation:
            self.write(metrics.validation.line("Validation set"))
        if metrics.test:
            self.write(metrics.test.line(self.start.evaluated))
        if metrics.clipped is not None:
            self.write(f"Clipped gradients: {percent(metrics.clipped)} of the steps")
        if self.best == metrics.epoch:
            self.write("The best epoch so far by the validation split; its weights are kept")
        if self.stop_reason:
            self.write(self.stop_reason)
        elif left := remaining_seconds(self.durations, self.start.epochs):
            self.write(f"Remaining: {'at most ' if self.start.may_stop else ''}about {format_duration(left)}")
        self.write("")

    def on_train_end(self, seconds: float) -> None:
        self.write(f"Time of all epochs, training and evaluation: {format_duration(seconds)}")


class BatchProgress(Callback):
    """Reports the progress of a training, for callers that show none themselves."""

    def __init__(self, task: str = "Training") -> None:
        self.task = task
        self.start: EpochStart | None = None

    def on_epoch_start(self, start: EpochStart) -> None:
        self.start = start

    def on_batch_end(self, batch: BatchMetrics) -> None:
        if self.start is None:
            return
        epoch, epochs, batches = self.start.epoch, self.start.epochs, self.start.num_batches
        detail = f"epoch {epoch} of {epochs}, {batch_line(batch)}"
        progress.report(self.task, (epoch - 1) * batches + batch.index + 1, epochs * batches, detail)


class LogFile:
    """log.txt: each call appends a line with the time, on disk at once."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.log
        # A killed process may have left an incomplete line.
        if paths.is_file(self.path) and reading.read_bytes(self.path)[-1:] not in {b"", b"\n"}:
            self("")

    def __call__(self, line: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        files.append_text(self.path, f"{stamp}  {printable(line)}\n" if line else "\n")
