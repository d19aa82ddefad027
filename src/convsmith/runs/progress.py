"""How far a run is, read from its folder while another process trains it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import RunError
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import EpochRow
from convsmith.text import format_duration


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """The state of a run.

    Attributes:
        epochs: How many it goes through.
        rows: Of metrics.csv, one a finished epoch.
        quiet_seconds: Since its log last grew.
        finished: Whether its report is written.
        diverged: What the log says where the training was stopped because the loss was not finite.
    """

    name: str
    epochs: int
    rows: Sequence[EpochRow]
    quiet_seconds: float
    finished: bool
    diverged: str

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.finished or bool(self.diverged)

    @property
    def seconds_left(self) -> float | None:
        """At the pace of the epochs so far; None before the first."""
        if not self.rows:
            return None
        spent = sum(row.seconds for row in self.rows)
        return spent / len(self.rows) * (self.epochs - len(self.rows))

    def line(self) -> str:
        """The state in one line.

        >>> RunProgress(name="a", epochs=3, rows=(), quiet_seconds=2, finished=False, diverged="").line()
        'a: 0 of 3 epochs, last news 2 s ago'
        """
        told = f"{self.name}: {len(self.rows)} of {self.epochs} epochs"
        if self.diverged:
            return f"{told}, {self.diverged}"
        if self.finished:
            return f"{told}, finished"
        left = "" if self.seconds_left is None else f", about {format_duration(self.seconds_left)} left"
        return f"{told}{left}, last news {self.quiet_seconds:.0f} s ago"


def progress(run: Path) -> RunProgress:
    """Read how far a run is.

    Raises:
        RunError: The folder holds no run.
    """
    if not (run / "recipe.toml").is_file():
        raise RunError("no such run", where=str(run), fix="name a folder that `convsmith train` made")
    recipe = load(str(run / "recipe.toml"))
    folder = RunFolder(path=run)
    log = run / "log.txt"
    text = folder.read_text("log.txt") if log.is_file() else ""
    return RunProgress(
        name=run.resolve().name,
        epochs=recipe.train.epochs_run,
        rows=folder.metrics() if (run / "metrics.csv").is_file() else (),
        quiet_seconds=max(time.time() - log.stat().st_mtime, 0.0) if log.is_file() else 0.0,
        finished=folder.is_finished,
        diverged=next((line.split("  ", 1)[-1] for line in text.splitlines() if "error[E060]" in line), ""),
    )


def table_header() -> str:
    """The names of the columns of `table_row`."""
    names = ("epoch", "lr", "train", "", "validation", "", "test", "", "s")
    widths = (5, 10, 8, 8, 10, 8, 8, 8, 7)
    return " ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))


def table_row(row: EpochRow) -> str:
    """An epoch in one line: learning rate, then loss and accuracy of each split, and seconds.

    >>> table_row(EpochRow(epoch=1, lr=0.01, train_loss=2.3, train_accuracy=0.1, train_seconds=5))
    '    1 1.0000e-02   2.3000   10.00%          -        -        -        -     5.0'
    """
    cells = [f"{row.epoch:>5}", f"{row.lr or 0:>10.4e}"]
    for name, width in (("train", 8), ("validation", 10), ("test", 8)):
        loss, accuracy = row.metric(name, "loss"), row.metric(name, "accuracy")
        cells.append(f"{'-' if loss is None else f'{loss:.4f}':>{width}}")
        cells.append(f"{'-' if accuracy is None else f'{accuracy:.2%}':>8}")
    return " ".join([*cells, f"{row.seconds:>7.1f}"])
