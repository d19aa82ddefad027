"""The progress of a run, read from its folder while another process trains it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.data.fold import TEST_SET
from convsmith.errors import RunError
from convsmith.runs.folder import RECIPE, RunFolder
from convsmith.runs.log import remaining_seconds
from convsmith.runs.schema import METRICS, EpochRow
from convsmith.system import paths
from convsmith.text import format_duration


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """The progress of a run.

    Attributes:
        epochs: The number of epochs in all.
        rows: The rows of metrics.csv, one for each completed epoch.
        quiet_seconds: The time since the log was last written.
        finished: Whether the report is written.
        diverged: The error in the log if the training stopped at a loss that is not finite.
        may_stop: Whether early stopping may end the training before its last epoch.
        stopped_early: The line in the log if early stopping has ended the training.
        evaluated: The kind of the images that the net is evaluated on: "test", or "held-out" for a fold.
    """

    name: str
    epochs: int
    rows: Sequence[EpochRow]
    quiet_seconds: float
    finished: bool
    diverged: str
    may_stop: bool = False
    stopped_early: str = ""
    evaluated: str = TEST_SET.kind

    @property
    def done(self) -> bool:
        """Whether the training has ended."""
        return self.finished or bool(self.diverged)

    @property
    def seconds_left(self) -> float | None:
        """The estimated duration of the remaining epochs; None before the end of the first one."""
        return remaining_seconds([row.seconds for row in self.rows], self.epochs) if self.rows else None

    def line(self) -> str:
        """Format the progress as one line.

        >>> RunProgress(name="a", epochs=3, rows=(), quiet_seconds=2, finished=False, diverged="").line()
        'a: 0 of 3 epochs, last update 2 s ago'
        """
        epochs = f"{self.name}: {len(self.rows)} of {self.epochs} epochs"
        if not self.epochs:
            return f"{self.name}: weights that were trained elsewhere, no epochs"
        if self.diverged:
            return f"{epochs}, {self.diverged}"
        if self.finished:
            return f"{epochs}, {'stopped early, ' if self.stopped_early else ''}finished"
        left = ""
        if self.seconds_left is not None and not self.stopped_early:
            at_most = "at most " if self.may_stop else ""
            left = f", {at_most}about {format_duration(self.seconds_left)} left"
        return f"{epochs}{left}, last update {self.quiet_seconds:.0f} s ago"


def progress(run: Path) -> RunProgress:
    """Read the progress of a run.

    Raises:
        RunError: The folder is not a run.
    """
    if not paths.is_file(run / RECIPE):
        raise RunError("no such run", where=str(run), fix="name a folder that `convsmith train` made")
    folder = RunFolder(path=run)
    has_log = paths.is_file(folder.log)
    lines = folder.read_log().splitlines() if has_log else []
    recipe = folder.recipe()
    train = recipe.train
    return RunProgress(
        name=run.resolve().name,
        epochs=train.epochs_run,
        rows=folder.metrics() if paths.is_file(run / METRICS) else (),
        quiet_seconds=max(time.time() - folder.log.stat().st_mtime, 0.0) if has_log else 0.0,
        finished=folder.is_finished,
        diverged=next((line.split("  ", 1)[-1] for line in lines if "error[E060]" in line), ""),
        may_stop=train.early_stopping is not None,
        stopped_early=stop_line(lines),
        evaluated=recipe.data.evaluation_set.kind,
    )


def stop_line(lines: Sequence[str]) -> str:
    """Return the line of an early stop from a log; empty if there is none, or if the training went on.

    >>> stop_line(["10:00:00  Stopped early after epoch 3: why", "10:00:00  "])
    'Stopped early after epoch 3: why'
    >>> stop_line(["10:00:00  Stopped early after epoch 3: why", "11:00:00  Resumed after epoch 3"])
    ''
    """
    texts = (line.split("  ", 1)[-1] for line in reversed(lines))
    last = next((text for text in texts if text.startswith(("Stopped early", "Resumed "))), "")
    return last if last.startswith("Stopped") else ""


def table_header(evaluated: str = TEST_SET.kind) -> str:
    """Return the names of the columns of `table_row`; `evaluated` is the kind of the evaluated images."""
    names = ("epoch", "lr", "train", "", "validation", "", evaluated, "", "s")
    widths = (5, 10, 8, 8, 10, 8, 8, 8, 7)
    return " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))


def table_row(row: EpochRow) -> str:
    """Format an epoch as one line: learning rate, loss and accuracy of each split, and seconds.

    >>> table_row(EpochRow(epoch=1, lr=0.01, train_loss=2.3, train_accuracy=0.1, train_seconds=5))
    '    1 1.0000e-02   2.3000   10.00%          -        -        -        -     5.0'
    """
    cells = [f"{row.epoch:>5}", f"{row.lr or 0:>10.4e}"]
    for name, width in (("train", 8), ("validation", 10), ("test", 8)):
        loss, accuracy = row.metric(name, "loss"), row.metric(name, "accuracy")
        cells.append(f"{'-' if loss is None else f'{loss:.4f}':>{width}}")
        cells.append(f"{'-' if accuracy is None else f'{accuracy:.2%}':>8}")
    return " ".join([*cells, f"{row.seconds:>7.1f}"])
