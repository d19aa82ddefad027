"""The search: candidates are proposed, checked, and trained rung by rung."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from convsmith.data.dataset import TrainingData, load_training_data
from convsmith.errors import (
    BusyError,
    ConvsmithError,
    DivergedError,
    Problem,
    RecipeError,
    RunError,
    ShapeError,
    StoppedError,
)
from convsmith.evaluation.imbalance import ClassBalance
from convsmith.models.teacher import TeacherModel, load_teacher
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, Proposal, first_candidate, next_candidate
from convsmith.nas.halving import promotable
from convsmith.nas.results import summarize, write_report
from convsmith.nas.search_space import SearchSpace
from convsmith.nas.settings import SearchSettings
from convsmith.nas.study import JOURNAL, Trial, TrialStore
from convsmith.nas.worker import Deadline, TrialRunner
from convsmith.recipes.fit import analyze_recipe
from convsmith.reports.search_page import SearchData
from convsmith.runs.folder import RunFolder
from convsmith.system import files, locks
from convsmith.system.signals import ALARM, StopRequest, stop_on_signals
from convsmith.text import percent, plural
from convsmith.training.class_weights import class_counts, class_weights_of

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search: its data, and the path of its page."""

    data: SearchData
    page: Path


def search(
    settings: SearchSettings,
    folder: Path,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    log: Log = lambda _: None,
) -> SearchResult:
    """Start a search, or resume the one in a folder. Several processes may share a folder.

    Args:
        settings: The settings of the search.
        folder: Of the study; created if it does not exist.
        trials: The number of trials of all processes together.
        minutes: The time limit; the training in progress is then saved.
        log: Called with a line for each trial that reaches a rung.

    Raises:
        RecipeError: The starting point does not fit its data, or no net near it passes the brief.
        RunError: The study has other settings.
        DataError: The data set is missing or unreadable.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; state and report are written.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    runner, teacher = _trial_runner(settings, folder)
    # Before anything is written: if no net fits the brief, there is no study.
    first = first_candidate(runner.space, settings.seed)
    files.make_folder(folder)
    settings.save(folder)
    worker = SearchWorker(settings, runner, first, limit=trials, log=log)
    notes = (*(teacher.notes if teacher else ()), *_ranking_notes(runner.data))
    for line in _header(settings, runner, first, teacher):
        log(line)
    check_trials(runner, worker.store.trials())
    with stop_on_signals() as stop:
        worker.run(stop, Deadline(stop, end))
    results = worker.store.trials()
    data = summarize(settings, runner, results, notes)
    page = write_report(data, settings, runner, results)
    if stop.signal and stop.signal != ALARM:
        error = StoppedError(stop.signal, f"after {data.complete} complete trainings")
        fix = f"the same command resumes; results so far: {page}"
        error.problems = tuple(replace(problem, fix=fix) for problem in error.problems)
        raise error
    return SearchResult(data=data, page=page)


class SearchWorker:
    """One process of a search.

    Args:
        settings: Of the search.
        runner: Trains the trials.
        first: The candidate of trial 0.
        limit: The number of trials; None for no limit.
        log: Called with a line for each trial that reaches a rung.
    """

    def __init__(
        self, settings: SearchSettings, runner: TrialRunner, first: Proposal, *, limit: int | None, log: Log
    ) -> None:
        self.settings, self.runner, self.first = settings, runner, first
        self.limit, self.log = limit, log
        self.store = TrialStore(runner.folder, runner.space, runner.held_out, self.propose)

    def propose(
        self, number: int, population: Sequence[EvaluatedCandidate], candidates: Sequence[Candidate]
    ) -> Proposal:
        """Propose the candidate of a trial. It depends only on the arguments and the seed."""
        if number == 0:
            return self.first
        random = Random(f"{self.settings.seed} {number}")  # noqa: S311 - not cryptographic
        return next_candidate(self.runner.space, population, [self.first.candidate, *candidates], random)

    def run(self, stop: StopRequest, deadline: Deadline) -> None:
        """Work until nothing is left to do, the time limit is reached, or a stop is requested."""
        while not stop.signal and not deadline.passed:
            if not self.promote(stop, deadline) and not self.start(stop, deadline):
                return

    def promote(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Train a pending trial that no other process trains; return False if there is none."""
        return any(self.advance(number, until, stop, deadline) for number, until in self.pending())

    def start(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Start a trial and train it to its first rung; return False if there are no more trials."""
        if self.limit is not None and len(self.store.trials()) >= self.limit:
            return False
        try:
            trial = self.store.start(self.limit)
        except RecipeError as error:
            self.log(f"No further candidates: {error.problems[0].what}")
            return False
        return trial is not None and self.advance(trial.number, self.settings.rungs[0], stop, deadline)

    def pending(self) -> list[tuple[int, int]]:
        """Return the trials to be trained, with their next rung: interrupted ones, then promotable ones."""
        trials = [trial for trial in self.store.trials() if trial.state != "failed"]
        interrupted = [(trial.number, self.settings.rungs[0]) for trial in trials if not trial.accuracies]
        accuracies = {trial.number: trial.accuracies for trial in trials}
        return [*interrupted, *promotable(accuracies, self.settings.rungs, self.settings.factor)]

    def advance(self, number: int, until: int, stop: StopRequest, deadline: Deadline) -> bool:
        """Train a trial to a rung; return False if another process is doing so or has done so."""
        try:
            with locks.lock_folder(self.runner.trial_folder(number)):
                trial = self.store.trial(number)
                if trial.state != "open" or until in trial.accuracies:
                    return False
                self.train(trial, until, stop, deadline)
        except BusyError:
            return False
        return True

    def train(self, trial: Trial, until: int, stop: StopRequest, deadline: Deadline) -> None:
        """Train a trial whose folder is locked, and record the result."""
        try:
            history = self.runner.train(trial.number, trial.candidate, until, callbacks=[deadline], stop=stop)
        except StoppedError:
            return
        except (DivergedError, RecipeError, ShapeError) as error:
            self.store.fail(trial.number, error.problems[0].what)
            self.log(f"#{trial.number:<4} failed: {error.problems[0].what}  {trial.candidate.net}")
            return
        metrics = history[until - 1].validation
        assert metrics is not None
        seconds = math.fsum(each.seconds for each in history)
        last = until == self.settings.epochs
        self.store.report(trial.number, until, metrics.accuracy, seconds=seconds, last=last)
        self.log(
            f"#{trial.number:<4} {until}/{self.settings.epochs} epochs  {percent(metrics.accuracy)}  "
            f"{trial.parameters:,} parameters, {trial.macs:,} MACs  {seconds:.0f} s  "
            f"{trial.candidate.net}{_origin(trial.candidate)}"
        )


def check_trials(runner: TrialRunner, trials: Sequence[Trial]) -> None:
    """Compare what the journal says about trials with their nets and with the metrics of their trainings.

    Raises:
        RunError: They differ; one problem for each trial.
    """
    problems = [
        Problem(
            what=f"trial {trial.number}: {difference}",
            where=str(runner.folder / JOURNAL),
            fix="restore the files of the study from a copy, or start another study with --study",
        )
        for trial in trials
        if (difference := _difference(runner, trial))
    ]
    if problems:
        raise RunError.of(problems)


def _difference(runner: TrialRunner, trial: Trial) -> str:
    """Describe how a trial differs from what was trained; empty if it does not."""
    try:
        analysis = runner.space.analysis(trial.candidate)
        rows = RunFolder(path=runner.trial_folder(trial.number)).metrics() if trial.accuracies else ()
    except ConvsmithError as error:
        return error.problems[0].what
    if (analysis.parameters, analysis.macs) != (trial.parameters, trial.macs):
        return f"{trial.parameters:,} parameters, the net has {analysis.parameters:,}; or other MACs"
    for epoch, accuracy in trial.accuracies.items():
        trained = rows[epoch - 1].validation_accuracy if 0 < epoch <= len(rows) else None
        # metrics.csv has six decimals.
        if trained is None or abs(trained - accuracy) > 1e-6:
            return f"{percent(accuracy)} after {epoch} epochs, its metrics.csv has {percent(trained)}"
    return ""


def _origin(candidate: Candidate) -> str:
    """Return its parent and mutations in brackets; empty for the starting point."""
    if candidate.parent is None:
        return ""
    return f"  (from #{candidate.parent}: {'; '.join(candidate.changes)})"


def _trial_runner(settings: SearchSettings, folder: Path) -> tuple[TrialRunner, TeacherModel | None]:
    data = load_training_data(settings.data)
    recipe, info = settings.recipe, data.info
    # Before the first trial, in which a mistake would look like a failure of its net.
    class_weights_of(recipe.train, data)
    max_macs = settings.brief.max_macs or int(settings.macs_factor * analyze_recipe(recipe, info).known_macs)
    space = SearchSpace(recipe=recipe, brief=settings.brief, info=info, max_macs=max_macs)
    teacher = load_teacher(recipe.model_copy(update={"data": settings.data}), data)
    runner = TrialRunner(
        folder=folder,
        space=space,
        data=data,
        epochs=settings.epochs,
        teacher=teacher.teacher if teacher else None,
    )
    return runner, teacher


def _header(
    settings: SearchSettings, runner: TrialRunner, first: Proposal, teacher: TeacherModel | None
) -> list[str]:
    changes = "".join(f" ({each})" for each in first.candidate.changes)
    rungs = ", ".join(map(str, settings.rungs))
    images = f"{len(runner.data.train):,} training images, {runner.held_out:,} held out"
    return [
        f"Brief: {settings.brief_name}; at most {runner.space.max_macs:,} MACs per image",
        f"Data: {runner.data.identity}; {images}; no test images",
        f"Full trials: {plural(settings.epochs, 'epoch')}; at {rungs}, 1/{settings.factor} is promoted",
        f"Starting point: {first.candidate.net}{changes}",
        *(teacher.lines() if teacher else ()),
        *(f"Note: {note}" for note in _ranking_notes(runner.data)),
        "",
    ]


def _ranking_notes(data: TrainingData) -> tuple[str, ...]:
    """Say by what candidates are ranked, if the data is imbalanced."""
    balance = ClassBalance(train=class_counts(data.train.labels, data.class_names), test=())
    if not balance.is_imbalanced:
        return ()
    note = (
        f"{balance.text()}: candidates are ranked by plain accuracy, in which large classes count most; "
        "train the best recipes to compare them by balanced accuracy"
    )
    return (note,)
