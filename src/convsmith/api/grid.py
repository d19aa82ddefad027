"""Train a recipe with every combination of the values of some fields."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convsmith.api.resume import resume_run
from convsmith.api.train import train_run
from convsmith.cluster.engine import Engine, connect
from convsmith.data.cache.cache import load_cached
from convsmith.data.cache.worker_data import check_worker_data
from convsmith.data.dataset import load as load_data
from convsmith.data.sources import find_source
from convsmith.errors import (
    ConvsmithError,
    Problem,
    ProcessError,
    RunError,
    StoppedError,
    UsageError,
    WriteError,
)
from convsmith.evaluation.field_effects import FieldEffects, field_effects
from convsmith.models.teacher import with_absolute_paths
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import architecture_of
from convsmith.recipes.axes import combinations, count_combinations, parse_axes
from convsmith.recipes.loader import with_overrides
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports.comparison import Comparison, compare
from convsmith.runs.code import architecture_of_run
from convsmith.runs.grid import COMPARISON, GridFolder, GridProgress, GridReader, GridRun
from convsmith.system import folders, locks, progress
from convsmith.system.device import choose_device
from convsmith.text import percent, plural

Watch = Callable[[Callable[[], GridProgress]], None]
# Above this number of runs a grid is more likely a mistake.
MANY_RUNS = 1_000


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """The result of a grid.

    Attributes:
        folder: That has everything.
        runs: The state of each run.
        table: The file with a row for each run.
        comparison: Of all complete runs; None if there are fewer than two.
    """

    folder: Path
    runs: tuple[GridRun, ...]
    table: Path
    comparison: Comparison | None

    @property
    def failed(self) -> tuple[GridRun, ...]:
        """The runs that have failed."""
        return tuple(run for run in self.runs if run.state == "failed")

    def records(self) -> list[dict[str, Any]]:
        """Return the runs as plain tables."""
        return [{"run": run.name, **vars(run)} for run in self.runs]


def grid(
    recipe: Recipe,
    *axes: str,
    on: str = "loky",
    workers: int | None = None,
    runs: str | Path = "runs",
    many: bool = False,
    log: Callable[[str], None] = lambda _: None,
    watch: Watch = lambda _: None,
    trust_code: bool = False,
) -> GridResult:
    """Train a recipe with every combination of the values of some fields, on several workers.

    Each combination is an ordinary run, with the weights that `train` gives on as many threads as the worker
    has. At the end all runs are compared, with the marginal effect of each field.

    Args:
        recipe: From `load_recipe`.
        axes: Fields with their values: "seed=0..4", "train.optimizer.lr=0.01,0.03".
        on: Where runs are trained: "loky" (processes of this machine), "dask://HOST:PORT" or
            "ray://HOST:PORT".
        workers: How many runs are trained at once; by default one for each core of the machine or cluster.
        runs: The parent folder; the grid's own is `<recipe>-grid-<number>` in it.
        many: Agree to more than 1,000 runs.
        log: Called with a line for each run that ends.
        watch: Called once with a function that reads the present state of all runs.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        UsageError: An axis or the engine is invalid, or there are very many runs.
        RecipeError: A combination is not a valid recipe.
        DataError: The data set does not exist or is unreadable.
        MissingExtraError: The engine is not installed.
        ProcessError: The engine does not answer, or its workers are lost again and again.
        FileError: The folder is not writable.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; `resume_grid` goes on.

    Example:
        >>> import convsmith as cs
        >>> recipe = cs.load_recipe("digits", "train.epochs=2")
        >>> result = cs.grid(recipe, "seed=0..2", "train.optimizer.lr=0.01,0.1")  # doctest: +SKIP
        >>> len(result.runs), result.comparison.page.name  # doctest: +SKIP
        (6, 'compare.html')
    """
    engine, parsed = Engine.parse(on), parse_axes(axes)
    # Before anything is written.
    engine.check()
    if (count := count_combinations(parsed)) > MANY_RUNS and not many:
        raise UsageError(
            f"the grid has {count:,} runs",
            where="grid",
            fix="name fewer values, or agree to this many: --yes",
        )
    for fields in combinations(parsed):
        complete = with_overrides(recipe, [f"{field}={value}" for field, value in fields.items()])
        complete.check_trainable()
        choose_device(complete.train.device)
    folders.check_destination(Path(runs))
    folder = GridFolder.create(Path(runs), with_absolute_paths(recipe), [str(axis) for axis in parsed])
    return _Grid(folder, engine, workers, log).run(watch, trust_code=trust_code)


def resume_grid(
    folder: str | Path,
    *,
    on: str = "loky",
    workers: int | None = None,
    accept_changes: bool = False,
    log: Callable[[str], None] = lambda _: None,
    watch: Watch = lambda _: None,
    trust_code: bool = False,
) -> GridResult:
    """Go on with a grid: complete runs stay, interrupted ones are resumed, and others are trained.

    Args:
        folder: Of the grid.
        on: As for `grid`, as are the others; another engine may be used.
        workers: How many runs are trained at once.
        accept_changes: Resume interrupted runs although machine or versions differ, as for `resume`.
        log: Called with a line for each run that ends.
        watch: Called once with a function that reads the present state of all runs.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        RunError: The folder is no grid.
        ConvsmithError: As for `grid`.
    """
    engine = Engine.parse(on)
    return _Grid(GridFolder.open(Path(folder)), engine, workers, log).run(
        watch, trust_code=trust_code, accept_changes=accept_changes
    )


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One run, as a worker gets it, with the fingerprint of its data in the main process."""

    grid: str
    number: int
    fingerprint: str
    trust_code: bool
    accept_changes: bool


class _Grid:
    """The main process of a grid."""

    def __init__(
        self, folder: GridFolder, engine: Engine, workers: int | None, log: Callable[[str], None]
    ) -> None:
        self.folder, self.engine, self.workers, self.log = folder, engine, workers, log

    def run(self, watch: Watch, *, trust_code: bool, accept_changes: bool = False) -> GridResult:
        fields, path = self.folder.fields, str(self.folder.path.absolute())
        with locks.lock_folder(self.folder.path):
            # Decoded once, before all workers would.
            data = load_data(self.folder.recipe_of(fields[0]).data)
            fingerprints = self._fingerprints()
            with connect(self.engine, self.folder.path, self.workers) as pool:
                reader = GridReader(self.folder, pool.count)
                tasks = [
                    _Task(
                        grid=path,
                        number=number,
                        fingerprint=fingerprint,
                        trust_code=trust_code,
                        accept_changes=accept_changes,
                    )
                    for number, fingerprint in enumerate(fingerprints, start=1)
                    if self.folder.run(number).state != "complete"
                ]
                self.log(
                    f"Grid: {plural(len(fields), 'run')} of {self.folder.record.recipe} "
                    f"({data.identity}), {len(tasks)} to train on {self.engine}, {pool.count} at once"
                )
                watch(reader.read)
                try:
                    for task, error in pool.run_all(_train, tasks, is_done=_is_done):
                        if error:
                            reader.fail(task.number, error)
                        self._log_end(reader.read(), task.number)
                except (StoppedError, ProcessError, WriteError) as error:
                    raise self._with_fix(error) from error
            return self._result(reader.read(), CodeAccess(trust=trust_code))

    def _fingerprints(self) -> list[str]:
        """Return the fingerprint of the data set of each run."""
        configs = [self.folder.recipe_of(fields).data for fields in self.folder.fields]
        known = {config: load_cached(find_source(config), config).fingerprint for config in set(configs)}
        return [known[config] for config in configs]

    def _log_end(self, now: GridProgress, number: int) -> None:
        run = now.runs[number - 1]
        name = f"{run.name} ({run.label})"
        if run.state == "failed":
            self.log(f"{name} failed: {run.error}")
            return
        validation = "" if run.validation is None else f", validation {percent(run.validation)}"
        self.log(f"{name}: {percent(run.accuracy or 0.0)}{validation}; {now.line()}")

    def _with_fix(self, error: ConvsmithError) -> ConvsmithError:
        fix = f"`convsmith grid --resume {self.folder.path}` goes on"
        error.problems = tuple(
            replace(each, fix=f"{each.fix}; {fix}" if each.fix else fix) for each in error.problems
        )
        return error

    @progress.waiting("Comparing the runs")
    def _result(self, now: GridProgress, access: CodeAccess) -> GridResult:
        table = self.folder.write_table(now.runs)
        comparison = None
        if len(now.complete) > 1:
            comparison = compare(
                [self.folder.run(run.number).path for run in now.complete],
                self.folder.path / COMPARISON,
                access,
                names=[self.folder.label(run.fields, without="seed") or "all seeds" for run in now.complete],
                effects=effects_of(now.complete),
            )
        result = GridResult(folder=self.folder.path, runs=now.runs, table=table, comparison=comparison)
        if result.failed:
            self.log(f"Table: {table}")
            if comparison:
                self.log(f"Report: {comparison.page}")
            fix = f"mend the cause; `convsmith grid --resume {self.folder.path}` trains what failed again"
            raise RunError.of(
                Problem(what=run.error, where=f"{self.folder.run(run.number).path} ({run.label})", fix=fix)
                for run in result.failed
            )
        return result


def effects_of(runs: Sequence[GridRun]) -> FieldEffects:
    """Return the effects on validation accuracy, or on that of the test set if a run has no validation."""
    validated = all(run.validation is not None for run in runs)
    scores = [(run.fields, (run.validation if validated else run.accuracy) or 0.0) for run in runs]
    return FieldEffects(is_of_test=not validated, fields=field_effects(scores))


def _is_done(task: _Task) -> bool:
    return GridFolder.open(Path(task.grid)).run(task.number).state == "complete"


def _train(task: _Task) -> str:
    """Train or resume a run in a worker; return why it failed, or nothing."""
    try:
        locks.retry_while_busy(lambda: _train_run(GridFolder.open(Path(task.grid)), task))
    # The last: every later run on a full disk would fail too.
    except (StoppedError, ProcessError, WriteError):
        raise
    except ConvsmithError as error:
        return _failure(error)
    return ""


def _failure(error: ConvsmithError) -> str:
    first = error.problems[0]
    text = ": ".join(part for part in (first.where, first.what) if part)
    return f"{text} (on {socket.gethostname()})"


def _train_run(folder: GridFolder, task: _Task) -> None:
    run, access = folder.run(task.number), CodeAccess(trust=task.trust_code)
    if run.state == "complete":
        return
    recipe = folder.recipe_of(folder.fields[task.number - 1])
    check_worker_data(recipe.data, task.fingerprint)
    if run.state == "begun":
        resume_run(
            run.path,
            lambda begun, recipe: architecture_of_run(begun, recipe, access),
            access,
            accept_changes=task.accept_changes,
        )
        return
    session = Session.load(recipe, architecture=architecture_of(recipe.model))
    train_run(session, folder.path, run.renew, trust_code=task.trust_code)
