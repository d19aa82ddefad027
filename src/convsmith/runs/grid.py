"""The folder of a grid: every combination of the values of some fields, each an ordinary run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import convsmith
from convsmith.errors import FileError, RunError
from convsmith.evaluation.schema import Record, Results
from convsmith.recipes.axes import Axis, combinations, parse_axes
from convsmith.recipes.loader import load, with_overrides
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import RECIPE, RunFolder
from convsmith.runs.progress import RunProgress, progress
from convsmith.runs.schema import validated
from convsmith.system import files, folders, paths, reading
from convsmith.text import csv_row, format_duration, percent, plural

GRID, TABLE, COMPARISON = "grid.json", "runs.csv", "comparison"


class GridRecord(Record):
    """What a grid consists of.

    Attributes:
        version: Of convsmith.
        recipe: Its name.
        axes: Fields with their values, as on the command line.
    """

    version: str
    recipe: str
    axes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """The state of one run of a grid.

    Attributes:
        number: From 1.
        fields: The values of this run.
        label: Those that differ between runs, in short.
        state: "complete", "running", "begun" (it can be resumed), "missing" or "failed".
        done: Epochs that are complete.
        epochs: Of the whole training; 0 while it is unknown.
        accuracy: On the evaluated images at the end; None before.
        validation: The last accuracy on validation images; None without them.
        seconds: Of the epochs.
        error: Why it failed.
    """

    number: int
    fields: Mapping[str, str]
    label: str
    state: str
    done: int = 0
    epochs: int = 0
    accuracy: float | None = None
    validation: float | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"run-{self.number:03d}"

    @property
    def score(self) -> float | None:
        """What runs are ranked by: the validation accuracy if there is one, so that tests choose nothing."""
        return self.accuracy if self.validation is None else self.validation


@dataclass(frozen=True, kw_only=True)
class GridProgress:
    """The state of all runs of a grid.

    Attributes:
        runs: In the order of their numbers.
        seconds_left: An estimate; None before the first epoch.
    """

    runs: tuple[GridRun, ...]
    seconds_left: float | None

    @property
    def complete(self) -> tuple[GridRun, ...]:
        return tuple(run for run in self.runs if run.state == "complete")

    @property
    def best(self) -> GridRun | None:
        """The complete run with the highest score; None before the first one."""
        scored = [run for run in self.complete if run.score is not None]
        return max(scored, key=lambda run: run.score or 0.0) if scored else None

    def line(self) -> str:
        """Describe the progress in a line."""
        parts = [f"{len(self.complete)} of {plural(len(self.runs), 'run')}"]
        if failed := sum(run.state == "failed" for run in self.runs):
            parts.append(f"{failed} failed")
        if self.best is not None:
            kind = "test" if self.best.validation is None else "validation"
            parts.append(f"best {kind} accuracy {percent(self.best.score or 0.0)} ({self.best.label})")
        if self.seconds_left and len(self.complete) < len(self.runs):
            parts.append(f"about {format_duration(self.seconds_left)} left")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class GridFolder:
    """The files of a grid.

    ============== ===================================================
    grid.json      `GridRecord`: recipe and axes
    recipe.toml    the recipe, without the values of the axes
    run-001/, ...  a run folder for each combination
    runs.csv       a row for each run: its values and results
    comparison/    the pages over all complete runs
    ============== ===================================================
    """

    path: Path
    record: GridRecord

    @classmethod
    def create(cls, runs: Path, recipe: Recipe, axes: Sequence[str]) -> "GridFolder":
        """Make the folder of a new grid, with the next number.

        Raises:
            FileError: The folder is not writable.
        """
        folder = folders.new_numbered_folder(runs, f"{recipe.name}-grid")
        record = GridRecord(version=convsmith.__version__, recipe=recipe.name, axes=tuple(axes))
        files.write_toml(folder / RECIPE, recipe.table())
        files.write_json(folder / GRID, record.model_dump(mode="json"))
        return cls(path=folder, record=record)

    @classmethod
    def open(cls, folder: Path) -> "GridFolder":
        """Open the folder of a grid.

        Raises:
            RunError: It is none, or its record is damaged.
        """
        path = folder / GRID
        if not paths.is_file(path):
            raise RunError("no such grid", where=str(folder), fix="name a folder that `convsmith grid` made")
        fix = "restore the file from a copy, or start the grid again"
        try:
            value = reading.read_json(path)
        except FileError as error:
            raise RunError(f"damaged: {error.problems[0].what}", where=str(path), fix=fix) from error
        return cls(path=folder, record=validated(GridRecord, value, path, fix))

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The fields with their values."""
        return parse_axes(self.record.axes)

    @cached_property
    def fields(self) -> list[dict[str, str]]:
        """The values of each run, in the order of their numbers."""
        return list(combinations(self.axes))

    def recipe(self) -> Recipe:
        """Read the recipe, without the values of the axes."""
        return load(str(self.path / RECIPE))

    def recipe_of(self, fields: Mapping[str, str]) -> Recipe:
        """Return the recipe of a run."""
        return with_overrides(self.recipe(), [f"{field}={value}" for field, value in fields.items()])

    def run(self, number: int) -> RunFolder:
        """Return the folder of a run, which need not exist; numbers count from 1."""
        return RunFolder(path=self.path / f"run-{number:03d}")

    def label(self, fields: Mapping[str, str], *, without: str = "") -> str:
        """Return the values of a run that differ between runs, in short; fields without another one.

        Fields are named by the last part of their name, unless two have it.
        """
        several = [each.field for each in self.axes if len(each.values) > 1]
        names = {field: field.rsplit(".", 1)[-1] for field in several}
        shown = {
            field: name if [*names.values()].count(name) == 1 else field for field, name in names.items()
        }
        return ", ".join(f"{shown[field]}={fields[field]}" for field in several if field != without)

    def read_run(self, number: int, fields: Mapping[str, str]) -> GridRun:
        """Read the state of a run, which another process may be writing."""
        run, label = self.run(number), self.label(fields)
        try:
            now = progress(run.path)
        except (RunError, FileError):
            return GridRun(number=number, fields=fields, label=label, state="missing")
        return GridRun(
            number=number,
            fields=fields,
            label=label,
            state=run.state,
            done=len(now.rows),
            epochs=now.epochs,
            accuracy=_accuracy(run) if now.finished else None,
            validation=_validation(run, now),
            seconds=sum(row.seconds for row in now.rows),
        )

    def write_table(self, runs: Sequence[GridRun]) -> Path:
        """Write runs.csv."""
        names = list(self.fields[0]) if runs else []
        header = ["run", *names, "state", "epochs", "accuracy", "validation_accuracy", "seconds", "error"]
        rows = [csv_row(header)]
        for run in runs:
            values = [_cell(run.accuracy), _cell(run.validation), f"{run.seconds:.1f}", run.error]
            rows.append(csv_row([run.name, *run.fields.values(), run.state, run.done, *values]))
        files.write_text(self.path / TABLE, "".join(rows))
        return self.path / TABLE


class GridReader:
    """Reads the state of a grid again and again; runs that have ended are read once.

    Args:
        folder: Of the grid.
        workers: How many runs are trained at once.
    """

    def __init__(self, folder: GridFolder, workers: int) -> None:
        self.folder, self.workers = folder, workers
        self.fields = folder.fields
        self.ended: dict[int, GridRun] = {}
        self.failures: dict[int, str] = {}

    def fail(self, number: int, error: str) -> None:
        """Record that a run has failed."""
        self.failures[number] = error

    def read(self) -> GridProgress:
        """Read the present state."""
        return self._progress([self._run(number) for number in range(1, len(self.fields) + 1)])

    def _run(self, number: int) -> GridRun:
        if number in self.ended:
            return self.ended[number]
        run = self.folder.read_run(number, self.fields[number - 1])
        if error := self.failures.get(number):
            run = GridRun(**{**vars(run), "state": "failed", "error": error})
        if run.state in {"complete", "failed"}:
            self.ended[number] = run
        return run

    def _progress(self, runs: Sequence[GridRun]) -> GridProgress:
        complete = [run.seconds for run in runs if run.state == "complete" and run.seconds]
        begun = [run for run in runs if run.state == "begun" and run.done and run.epochs]
        rates = complete or [run.seconds / run.done * run.epochs for run in begun]
        left = None
        if rates:
            each = sum(rates) / len(rates)
            missing = sum(run.state == "missing" for run in runs)
            parts = sum(1 - run.done / run.epochs for run in begun)
            left = each * (missing + parts) / max(min(self.workers, missing + len(begun)), 1)
        return GridProgress(runs=tuple(runs), seconds_left=left)


def _accuracy(run: RunFolder) -> float | None:
    try:
        return run.read(Results).test.accuracy
    except (RunError, FileError):
        return None


def _validation(run: RunFolder, now: RunProgress) -> float | None:
    """Return the validation accuracy of the epoch whose weights are kept, or of the last one so far."""
    if not now.rows:
        return None
    best = run.best_epoch() if now.finished else None
    return now.rows[(best or len(now.rows)) - 1].validation_accuracy


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
