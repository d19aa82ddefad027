"""Train a recipe once for each fold of the training set, and predict each fold by its own net."""

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.api.resume import resume_run
from convsmith.api.train import train_run
from convsmith.data.dataset import FoldedData, image_ids, load_folds
from convsmith.data.fold import MOST_FOLDS, EvaluationSet, Fold
from convsmith.errors import MissingExtraError, RecipeError, RunError, StoppedError
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
from convsmith.recipes.schema import SELECTS_BY_TEST, Recipe
from convsmith.recipes.session import Session
from convsmith.reports.folds_page import FoldsPage
from convsmith.reports.folds_page import html as page_of
from convsmith.runs.folder import EVALUATION, RunFolder
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
        callbacks: Called in the training of every fold.
        log: Called with a line for each fold.
        accept_changes: Resume an interrupted fold although machine or versions differ, as for `resume`.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a teacher whose net is a module.

    Raises:
        RecipeError: `count` is out of range, the recipe has a fold or selects by the test set, or the net
            does not fit the data.
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
            worker.train(callbacks, accept_changes=accept_changes, access=CodeAccess(trust=trust_code))
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

    def recipe_of(self, number: int) -> Recipe:
        """Return the recipe of the run of a fold."""
        fold = str(Fold(number=number, count=self.count))
        return self.recipe.model_copy(
            update={"data": self.recipe.data.model_copy(update={"fold": fold}), "result": ""}
        )

    def check(self) -> None:
        """Check the runs of an earlier call, before any is trained."""
        for number, state in self.states.items():
            if state != "missing":
                self.folder.check_run(number, self.count, self.recipe)
        if "missing" in self.states.values() or "begun" in self.states.values():
            self.folder.reopen()

    def train(self, callbacks: Sequence[Callback], *, accept_changes: bool, access: CodeAccess) -> None:
        """Train the folds that are not complete; an interrupted one is resumed."""
        data, sizes = self.data, [int((self.data.folds == each).sum()) for each in range(self.count)]
        self.log(
            f"Folds: {self.count} of {plural(len(data), 'training image')} ({data.identity}), "
            f"{min(sizes):,} to {max(sizes):,} images each; the test set is not used"
        )
        for number, state in self.states.items():
            name = f"Fold {number} of {self.count}"
            if state == "complete":
                self.log(f"{name}: complete, in {self.folder.run(number).path}")
                continue
            self.log(f"{name}: {'resumed' if state == 'begun' else 'held out'}")
            try:
                self._train_one(number, state, callbacks, accept_changes=accept_changes, access=access)
            except StoppedError as error:
                again = f"the same command goes on from there, in {shlex.quote(str(self.folder.path))}"
                error.problems = tuple(replace(problem, fix=again) for problem in error.problems)
                raise
            accuracy = self._metrics(number)[1].accuracy
            self.log(f"{name}: {percent(accuracy)} of {plural(sizes[number - 1], 'held-out image')} correct")

    def _train_one(
        self,
        number: int,
        state: str,
        callbacks: Sequence[Callback],
        *,
        accept_changes: bool,
        access: CodeAccess,
    ) -> None:
        if state == "begun":
            resume_run(
                self.folder.run(number).path,
                lambda *_: self.architecture,
                access,
                accept_changes=accept_changes,
                callbacks=callbacks,
            )
            return
        session = Session.load(self.recipe_of(number), architecture=self.architecture)
        self._check_data(session, number)
        train_run(
            session,
            self.folder.path,
            self.folder.run(number).renew,
            is_instance=self.is_instance,
            callbacks=callbacks,
            trust_code=access.trust,
        )

    def _check_data(self, session: Session, number: int) -> None:
        """Raise RunError if the images of a fold are not those of the first reading."""
        expected = image_ids(self.data.images.select(self.data.folds == number - 1).images)
        found = image_ids(session.data.test.images)
        if session.data.fingerprint != self.data.fingerprint or found.tolist() != expected.tolist():
            raise RunError(
                "the data set has changed since the folds were chosen",
                where=self.data.location,
                fix="bring it back to what it was, or train the folds in another folder with --out",
            )

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
