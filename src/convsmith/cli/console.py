"""The progress of a training: a live progress bar in a terminal, plain lines in a pipe."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from convsmith.cli.output import print_text, until_closed
from convsmith.runs.log import LogWriter
from convsmith.system.progress import EVERY
from convsmith.text import format_duration, printable
from convsmith.training.callbacks import Callback, EpochStart
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState

if TYPE_CHECKING:
    from torch import nn


def progress_callback() -> Callback:
    """Return the callback for a terminal or a pipe."""
    return LiveCallback() if sys.stdout.isatty() else LogWriter(until_closed(print_text), every=EVERY)


class LiveCallback(Callback):
    """Show a progress bar for each epoch below the lines of the log."""

    shows_progress = True

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.log = LogWriter(until_closed(lambda line: self.console.print(printable(line), markup=False)))
        self.bar: Progress | None = None

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        self.log.write(f"Run folder: {folder}")
        self.log.on_run_start(folder, opening)

    def on_resume(self, state: TrainerState, net: "nn.Module") -> None:
        self.log.on_resume(state, net)

    def on_compile_end(self, seconds: float) -> None:
        self.log.on_compile_end(seconds)

    def on_epoch_start(self, start: EpochStart) -> None:
        self.log.on_epoch_start(start)
        self.bar = Progress(
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            ),
            # The bar takes what the rest of the line leaves.
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _RateColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            expand=True,
        )
        self.bar.add_task("Train:", total=start.num_batches)
        self.bar.start()

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.log.on_batch_end(batch)
        if self.bar is not None:
            task = self.bar.task_ids[0]
            description = f"Train: Loss={batch.loss:.4f} Accuracy={100 * batch.accuracy:.2f}"
            self.bar.update(task, description=description, completed=batch.index + 1)

    def on_best_epoch(self, metrics: EpochMetrics, net: "nn.Module") -> None:
        self.log.on_best_epoch(metrics, net)

    def on_early_stop(self, reason: str) -> None:
        self.log.on_early_stop(reason)

    def on_epoch_end(self, metrics: EpochMetrics, net: "nn.Module") -> None:
        self.close()
        self.log.on_epoch_end(metrics, net)

    def on_train_end(self, seconds: float) -> None:
        self.log.on_train_end(seconds)

    def close(self) -> None:
        bar, self.bar = self.bar, None
        # Rich fails to stop a bar if an interrupt arrives while it starts or stops.
        with contextlib.suppress(IndexError):
            if bar is not None:
                bar.stop()
        self.console.show_cursor()


class _RateColumn(ProgressColumn):
    """Elapsed time, remaining time of the epoch, and batches per second, as tqdm formats them."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        rate = task.completed / elapsed if elapsed else 0.0
        remaining = format_duration((task.total or 0) / rate - elapsed) if rate else "?"
        return Text(f"[{format_duration(elapsed)}<{remaining}, {rate:.2f}it/s]")
