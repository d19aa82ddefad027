"""Train a recipe once for each fold of the training set, and predict each fold by its own net."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.api.resume import resume_run
from convsmith.api.train import train_run
from convsmith.cluster.engine import Engine, chosen_engine, connect
from convsmith.data.cache.worker_data import check_worker_data
from convsmith.data.dataset import FoldedData, image_ids, load_folds
from convsmith.data.fold import MOST_FOLDS, EvaluationSet, Fold
from convsmith.data.images.memory_mapped import Images
from convsmith.errors import MissingExtraError, RecipeError, RunError, StoppedError, UsageError
from convsmith.evaluation import predictions as saved_predictions
from convsmith.evaluation.label_errors import locate_label_errors
from convsmith.evaluation.metrics import Metrics, compute_metrics
from convsmith.evaluation.out_of_fold import (
    FoldMetrics,
    OutOfFoldLabelErrors,
    OutOfFoldResults,
    pool_predictions,
)
from convsmith.evaluation.predictions import Predictions
from convsmith.models.run_model import start_notes, teacher_notes
from convsmith.models.teacher import with_absolute_paths
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import Architecture, architecture_of
from convsmith.recipes.in_memory import with_data
from convsmith.recipes.instance import with_instance
from convsmith.recipes.loader import load
from convsmith.recipes.schema import SELECTS_BY_TEST, Recipe
from convsmith.recipes.session import Session
from convsmith.reports.folds_page import FoldsPage
from convsmith.reports.folds_page import html as page_of
from convsmith.runs.folder import EVALUATION, RECIPE, RunFolder
from convsmith.runs.folds import FoldsFolder, FoldsRecord
from convsmith.runs.schema import Resumptions, unrecorded_changes
from convsmith.system import files, folders, locks, progress
from convsmith.system.device import choose_device
from convsmith.text import join_first, percent, plural
from convsmith.training.callbacks import Callback

if TYPE_CHECKING:
    from torch import nn

_MOST_NUMBERS = 5
OUT_OF_FOLD = EvaluationSet(kind="training", name="out-of-fold predictions")


@dataclass(frozen=True, kw_only=True, repr=False)
class FoldsResult:
    """The result of all folds.

    Attributes:
        folder: That has everything: a run folder for each fold, predictions, label errors and page.
        page: The report.
        runs: The run folder of each fold.
        results: The metrics of all folds together, and of each.
        metrics: Of all folds together.
        predictions: Of each training image, by the net that was not trained on it.
        folds: The fold of each image, from 0, `(N,)`.
        locations: Of each image in the source: a file, or a row.
        label_errors: Labels that are probably wrong; None if cleanlab is not installed.
    """

    folder: Path
    page: Path
    runs: tuple[Path, ...]
    results: OutOfFoldResults
    metrics: Metrics
    predictions: Predictions
    folds: saved_predictions.Indices
    locations: tuple[str, ...]
    label_errors: OutOfFoldLabelErrors | None

    def lines(self) -> list[str]:
        """Format the result for a terminal."""
        errors = self.label_errors
        return [*self.results.lines(), "", *(errors.lines() if errors else [NO_LABEL_ERRORS])]

    def __repr__(self) -> str:
        return "\n".join([*self.results.lines(), f"Folder: {self.folder}", f"Report: {self.page}"])


NO_LABEL_ERRORS = (
    "Label errors were not searched: cleanlab is not installed. After pip install 'convsmith[labels]' the "
    "same command adds them, without training again"
)


def folds(
    recipe: Recipe,
    *,
    count: int = 5,
    out: str | Path | None = None,
    module: "nn.Module | None" = None,
    data: object = None,
    callbacks: Sequence[Callback] = (),
    on: str | None = None,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
    accept_changes: bool = False,
    refresh: bool = False,
    trust_code: bool = False,
) -> FoldsResult:
    """Train a recipe once for each fold of the training set (cross-validation), and find label errors.

    The training set, with its validation images, is divided into folds: stratified by class, with the images
    of a group and equal images in one fold. Each fold is held out of an ordinary run, which is evaluated on
    it. Validation images are cut out of the other folds. The test set is not used. The predictions of all
    runs together are one for each training image, by a net that was not trained on it.

    Args:
        recipe: From `load_recipe`.
        count: Of the folds, at least 2.
        out: The folder; by default `runs/<recipe>-folds`. Folds that it has of the same recipe and data are
            not trained again, and an interrupted one is resumed.
        module: An instance to train instead of the recipe's net, as for `train`.
        data: Data in memory instead of the recipe's source, as for `train`.
        callbacks: Called in the training of every fold; not on workers.
        on: Where folds are trained: "loky" (processes of this machine), "dask://HOST:PORT", "ray://HOST:PORT";
            by default in this process, one after the other.
        workers: How many folds are trained at once; by default one for each core of the machine or cluster.
        log: Called with a line for each fold.
        accept_changes: Resume an interrupted fold although machine or versions differ, as for `resume`.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        RecipeError: `count` is out of range, the recipe has a fold or selects by the test set, or the net
            does not fit the data.
        UsageError: `on` names no engine, or `module` or `data` is in the memory of this process only.
        ProcessError: The engine does not answer, or its workers are lost again and again.
        DataError: The data set does not exist or is unreadable, or a class has too few images or groups.
        RunError: The folder has other folds, or the data set has changed.
        FileError: The folder is not writable, has other files, or is in use.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; the same call continues.

    Example:
        >>> import convsmith as cs
        >>> result = cs.folds(cs.load_recipe("digits", "train.epochs=2"), count=3)  # doctest: +SKIP
        >>> result.metrics.accuracy, len(result.label_errors.images)  # doctest: +SKIP
        (0.87, 31)
    """
    engine = chosen_engine(on, workers)
    if engine and (module is not None or data is not None):
        raise UsageError(
            "workers do not see data or a module in the memory of this process",
            where="on",
            fix="name a folder as data.source and the net's file as model.module, or leave out `on`",
        )
    _check(recipe, count)
    folder = FoldsFolder(path=Path(out) if out else Path("runs") / f"{recipe.name}-folds")
    folders.check_destination(folder.path)
    if module is not None:
        recipe = with_instance(recipe, module)
    with with_data(recipe, data) as with_source:
        architecture = architecture_of(with_source.model, module)
        architecture.check_constructor()
        images = load_folds(with_source.data, count, refresh=refresh)
        complete = with_absolute_paths(with_source)
        record = FoldsRecord.of(complete, _identity(architecture, module), images, count)
        files.make_folder(folder.path)
        with locks.lock_folder(folder.path):
            folder.start(record, complete)
            worker = _Folds(
                folder, complete, count, images, architecture, is_instance=module is not None, log=log
            )
            worker.check()
            tasks = worker.tasks(accept_changes=accept_changes, trust_code=trust_code)
            if engine:
                worker.train_on(engine, workers, tasks)
            else:
                worker.train(tasks, callbacks)
            return worker.result()


def _check(recipe: Recipe, count: int) -> None:
    """Raise RecipeError for a recipe that cannot be trained on folds, before the data is read."""
    recipe.check_trainable()
    choose_device(recipe.train.device)
    if not 2 <= count <= MOST_FOLDS:
        raise RecipeError(
            f"found {count:,}, expected 2 to {MOST_FOLDS:,}", where="--folds", fix="leave it out, for 5 folds"
        )
    if recipe.selects_by_test:
        what, _, fix = SELECTS_BY_TEST.partition("; ")
        raise RecipeError(what, where="train.schedule.monitor", fix=fix)
    if recipe.data.fold:
        raise RecipeError(
            f"the recipe holds out fold {recipe.data.fold}, and each fold is trained here",
            where="data.fold",
            fix="leave it out (data.fold=false), or train this fold alone: `convsmith train`",
        )


def _identity(architecture: Architecture, module: "nn.Module | None") -> Mapping[str, Any]:
    """Return what identifies the net; of an instance its weights too, which every fold begins with."""
    if module is None:
        return architecture.identity()
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return {**architecture.identity(), "weights": digest.hexdigest()}


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One fold to train, as a worker gets it.

    Attributes:
        folder: Of all folds.
        number: From 1.
        count: Of the folds.
        fingerprint: Of the source.
        images: SHA-256 of the ids of the held-out images.
        accept_changes: Resume although the machine differs.
        trust_code: Whether to run the code of a teacher.
    """

    folder: str
    number: int
    count: int
    fingerprint: str
    images: str
    accept_changes: bool
    trust_code: bool

    @property
    def run(self) -> RunFolder:
        return FoldsFolder(path=Path(self.folder)).run(self.number)


def _is_complete(task: _Task) -> bool:
    return task.run.state == "complete"


def _train_in_worker(task: _Task) -> None:
    recipe = load(str(Path(task.folder) / RECIPE))
    check_worker_data(recipe.data, task.fingerprint)
    architecture = architecture_of(recipe.model)
    locks.retry_while_busy(lambda: _train_fold(task, recipe, architecture))


def _train_fold(
    task: _Task,
    recipe: Recipe,
    architecture: Architecture,
    callbacks: Sequence[Callback] = (),
    *,
    is_instance: bool = False,
) -> None:
    """Train or resume the run of a fold."""
    access = CodeAccess(trust=task.trust_code)
    if task.run.state == "complete":
        return
    if task.run.state == "begun":
        resume_run(
            task.run.path,
            lambda *_: architecture,
            access,
            accept_changes=task.accept_changes,
            callbacks=callbacks,
        )
        return
    fold = str(Fold(number=task.number, count=task.count))
    update = {"data": recipe.data.model_copy(update={"fold": fold}), "result": ""}
    session = Session.load(recipe.model_copy(update=update), architecture=architecture)
    if (session.data.fingerprint, _digest(session.data.test.images)) != (task.fingerprint, task.images):
        raise RunError(
            "the data set has changed since the folds were chosen, or differs from that of the main process",
            where=session.data.location,
            fix="bring it back to what it was, or train the folds in another folder with --out",
        )
    train_run(
        session,
        Path(task.folder),
        task.run.renew,
        is_instance=is_instance,
        callbacks=callbacks,
        trust_code=access.trust,
    )


def _digest(images: Images) -> str:
    return hashlib.sha256(image_ids(images).tobytes()).hexdigest()


class _Folds:
    """The folds of a folder that this process has locked."""

    def __init__(
        self,
        folder: FoldsFolder,
        recipe: Recipe,
        count: int,
        data: FoldedData,
        architecture: Architecture,
        *,
        is_instance: bool,
        log: Callable[[str], None],
    ) -> None:
        self.folder, self.recipe, self.count, self.data = folder, recipe, count, data
        self.architecture, self.is_instance, self.log = architecture, is_instance, log
        self.states = {number: folder.run(number).state for number in range(1, count + 1)}

    def check(self) -> None:
        """Check the runs of an earlier call, before any is trained."""
        for number, state in self.states.items():
            if state != "missing":
                self.folder.check_run(number, self.count, self.recipe)
        if "missing" in self.states.values() or "begun" in self.states.values():
            self.folder.reopen()

    def tasks(self, *, accept_changes: bool, trust_code: bool) -> list["_Task"]:
        """Return what is to be done for the folds that are not complete, and say which are."""
        data, sizes = self.data, [int((self.data.folds == each).sum()) for each in range(self.count)]
        self.log(
            f"Folds: {self.count} of {plural(len(data), 'training image')} ({data.identity}), "
            f"{min(sizes):,} to {max(sizes):,} images each; the test set is not used"
        )
        for number, state in self.states.items():
            if state == "complete":
                self.log(f"{self._name(number)}: complete, in {self.folder.run(number).path}")
        return [
            _Task(
                folder=str(self.folder.path.absolute()),
                number=number,
                count=self.count,
                fingerprint=data.fingerprint,
                images=_digest(data.images.select(data.folds == number - 1).images),
                accept_changes=accept_changes,
                trust_code=trust_code,
            )
            for number, state in self.states.items()
            if state != "complete"
        ]

    def train(self, tasks: Sequence["_Task"], callbacks: Sequence[Callback]) -> None:
        """Train in this process; an interrupted fold is resumed."""
        for task in tasks:
            begun = self.states[task.number] == "begun"
            self.log(f"{self._name(task.number)}: {'resumed' if begun else 'held out'}")
            with self._with_fix():
                _train_fold(task, self.recipe, self.architecture, callbacks, is_instance=self.is_instance)
            self._log_end(task)

    def train_on(self, engine: Engine, workers: int | None, tasks: Sequence["_Task"]) -> None:
        """Train on the workers of an engine."""
        with self._with_fix(), connect(engine, self.folder.path, workers) as pool:
            self.log(f"{plural(len(tasks), 'fold')} to train on {engine}, {pool.count} at once")
            for task, _ in pool.run_all(_train_in_worker, tasks, is_done=_is_complete):
                self._log_end(task)

    def _name(self, number: int) -> str:
        return f"Fold {number} of {self.count}"

    def _log_end(self, task: "_Task") -> None:
        accuracy, size = (
            self._metrics(task.number)[1].accuracy,
            int((self.data.folds == task.number - 1).sum()),
        )
        name = self._name(task.number)
        self.log(f"{name}: {percent(accuracy)} of {plural(size, 'held-out image')} correct")

    @contextmanager
    def _with_fix(self) -> Iterator[None]:
        """Say how interrupted folds go on."""
        try:
            yield
        except StoppedError as error:
            again = f"the same command goes on from there, in {shlex.quote(str(self.folder.path))}"
            error.problems = tuple(replace(problem, fix=again) for problem in error.problems)
            raise

    def _metrics(self, number: int) -> tuple[Predictions, Metrics]:
        """Read the predictions for a fold, and compute their metrics."""
        run = RunFolder.open(self.folder.run(number).path)
        run.verify(*EVALUATION)
        predictions = saved_predictions.read(run.predictions)
        evaluated = Fold(number=number, count=self.count).evaluation_set
        return predictions, compute_metrics(predictions, self.data.class_names, evaluated=evaluated)

    @progress.waiting("Putting the folds together")
    def result(self) -> FoldsResult:
        """Put the predictions of all folds together, and write metrics, label errors and page."""
        data, numbers = self.data, range(1, self.count + 1)
        each = [self._metrics(number) for number in numbers]
        pooled = pool_predictions(
            [predictions for predictions, _ in each],
            data.folds,
            data.images.labels,
            image_ids(data.images.images),
        )
        metrics = compute_metrics(pooled, data.class_names, config=self.recipe.train, evaluated=OUT_OF_FOLD)
        try:
            errors = locate_label_errors(pooled, data.class_names, data.locations, data.folds)
        except MissingExtraError:
            errors = None
        of_folds = [self._fold(number, of_fold) for number, (_, of_fold) in zip(numbers, each, strict=True)]
        results = OutOfFoldResults.of(
            of_folds,
            metrics,
            pooled,
            data.class_names,
            label_errors=None if errors is None else len(errors.images),
            notes=self._notes(),
        )
        self.folder.write_predictions(pooled, data)
        self.folder.write_label_errors(errors)
        self.folder.write_results(results)
        page = FoldsPage(
            recipe=self.recipe,
            net=self.architecture.text,
            data=data,
            results=results,
            metrics=metrics,
            predictions=pooled,
            label_errors=errors,
            no_label_errors="" if errors else NO_LABEL_ERRORS,
        )
        return FoldsResult(
            folder=self.folder.path,
            page=self.folder.write_page(page_of(page)),
            runs=tuple(self.folder.run(number).path for number in numbers),
            results=results,
            metrics=metrics,
            predictions=pooled,
            folds=data.folds,
            locations=data.locations,
            label_errors=errors,
        )

    def _notes(self) -> tuple[str, ...]:
        """Return the notes on the starts, teachers and resumptions of the runs, equal ones once."""
        folds_of: dict[str, list[int]] = {}
        for number in range(1, self.count + 1):
            run = self.folder.run(number)
            resumed = unrecorded_changes(run.find(Resumptions))
            for note in dict.fromkeys((*start_notes(run), *teacher_notes(run), *resumed)):
                folds_of.setdefault(note, []).append(number)
        return tuple(
            note if len(numbers) == self.count else f"fold {join_first(numbers, _MOST_NUMBERS)}: {note}"
            for note, numbers in folds_of.items()
        )

    def _fold(self, number: int, metrics: Metrics) -> FoldMetrics:
        run = self.folder.run(number)
        rows = run.metrics()
        return FoldMetrics.of(number, run.path.name, metrics, len(rows), sum(row.seconds for row in rows))
