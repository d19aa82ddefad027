"""The training log in the course's form, as plain lines for log.txt and for pipes."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from convsmith.runs.checkpoint import Checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.system import files, reading
from convsmith.text import format_duration, printable
from convsmith.training.callbacks import Callback, EpochStart
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState


def batch_line(batch: BatchMetrics) -> str:
    """The course's words for the state of an epoch.

    >>> batch_line(BatchMetrics(index=390, loss=1.67641, accuracy=0.33171))
    'Loss=1.6764 Batch_id=390 Accuracy=33.17'
    """
    return f"Loss={batch.loss:.4f} Batch_id={batch.index} Accuracy={100 * batch.accuracy:.2f}"


def seconds_left(history: Sequence[EpochMetrics], epochs: int) -> float:
    """What the epochs to come will take, at the pace of those done."""
    spent = sum(facts.train_seconds + facts.evaluation_seconds for facts in history)
    return spent / len(history) * (epochs - len(history))


class LogWriter(Callback):
    """An observer that says what happens in plain lines, each given to `write`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.lr: float | None = None
        self.start: EpochStart | None = None
        self.last_batch: BatchMetrics | None = None
        self.history: list[EpochMetrics] = []

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        del folder
        for line in opening:
            self.write(line)

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        del net
        self.history = list(state.history)
        progress = state.progress
        place = f"after epoch {progress.epoch - 1}"
        if progress.step:
            place = f"in epoch {progress.epoch}, after {progress.step} of {state.num_batches} batches"
        self.write(f"Resumed {place}")

    def on_compile_end(self, seconds: float) -> None:
        self.write(f"Compiled in {format_duration(seconds)}, which no epoch's time contains")

    def on_epoch_start(self, start: EpochStart) -> None:
        self.start = start
        self.write(f"Epoch {start.epoch}")
        if start.lr != self.lr:
            self.write(f"Learning rate: {start.lr:.4e}")
            self.lr = start.lr

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.last_batch = batch

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        del net
        assert self.start is not None
        assert self.last_batch is not None
        self.history.append(metrics)
        batches = self.start.num_batches
        rate = batches / max(metrics.train_seconds, 1e-9)
        self.write(
            f"Train: {batch_line(self.last_batch)}: 100% {batches}/{batches} "
            f"[{format_duration(metrics.train_seconds)}, {rate:.2f}it/s]"
        )
        if metrics.validation:
            self.write(metrics.validation.line("Validation"))
        if metrics.test:
            self.write(metrics.test.line("Test"))
        if left := seconds_left(self.history, self.start.epochs):
            self.write(f"Remaining: about {format_duration(left)}")
        self.write("")

    def on_train_end(self, seconds: float) -> None:
        self.write(f"Total time: {format_duration(seconds)}")


class RunWriter(Callback):
    """An observer that keeps the run folder current: metrics, weights, and what the training goes on from.

    The state comes last, so that what lies beside it is never older: a training that goes on from it writes
    the rest again.

    Args:
        folder: Of the run.
        conditions: What the training depends on beside its state; kept with it.
    """

    def __init__(self, folder: RunFolder, conditions: Mapping[str, str]) -> None:
        self.folder, self.conditions = folder, conditions
        self.history: list[EpochMetrics] = []

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        self.history = list(state.history)
        self.folder.write_metrics(self.history)
        if self.history and not state.progress.step:
            self.folder.write_weights(net)

    def on_checkpoint(self, state: TrainerState) -> None:
        self.folder.write_checkpoint(Checkpoint(conditions=dict(self.conditions), state=state))

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.history.append(metrics)
        self.folder.write_weights(net)
        self.folder.write_metrics(self.history)


class LogFile:
    """log.txt: a line a call, on disk at once. Nothing in it is ever taken back."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path / "log.txt"
        # A process that was killed may have left half a line.
        if self.path.is_file() and reading.read_bytes(self.path)[-1:] not in {b"", b"\n"}:
            self("")

    def __call__(self, line: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        files.append_text(self.path, f"{stamp}  {printable(line)}\n" if line else "\n")
