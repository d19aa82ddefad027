"""The search: candidates are proposed, checked, and trained rung by rung."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convsmith.data.dataset import TrainingData
from convsmith.errors import ConvsmithError, Problem, RunError, StoppedError
from convsmith.evaluation.imbalance import ClassBalance
from convsmith.models.teacher import TeacherModel
from convsmith.nas.address import StorageAddress
from convsmith.nas.evolution import Proposal, first_candidate
from convsmith.nas.place import StudyPlace
from convsmith.nas.pool import Crew
from convsmith.nas.results import summarize, write_report
from convsmith.nas.search_worker import Log, SearchWorker, prepare
from convsmith.nas.settings import SearchSettings
from convsmith.nas.study import Trial
from convsmith.nas.worker import Deadline, TrialRunner
from convsmith.reports.search_page import SearchData
from convsmith.runs.folder import RunFolder
from convsmith.system import files, locks
from convsmith.system.signals import ALARM, stop_on_signals
from convsmith.text import percent, plural
from convsmith.training.class_weights import class_counts

# Of the folder while a study is opened.
_LOCK = ".study.lock"


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
    storage: StorageAddress | None = None,
    crew: Crew | None = None,
    log: Log = lambda _: None,
) -> SearchResult:
    """Start a search, or resume the one in a folder. Several processes may share a folder.

    Args:
        settings: The settings of the search.
        folder: Of the study; created if it does not exist.
        trials: The number of trials of all processes together.
        minutes: The time limit; the trainings in progress are then saved.
        storage: Of the trials; None for a journal in the folder.
        crew: Workers that train the trials; None to train them in this process.
        log: Called with a line for each trial that reaches a rung.

    Raises:
        RecipeError: The starting point does not fit its data, or no net near it passes the brief.
        RunError: The study has other settings, or its trials are in another storage.
        ProcessError: The storage or the engine does not answer, or the workers do not fit.
        MissingExtraError: The driver of the storage, or the engine, is not installed.
        DataError: The data set is missing or unreadable.
        StoppedError: Ctrl-C, SIGTERM or a batch system's signal; state and report are written.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    runner, teacher = prepare(settings, folder)
    # Before anything is written: if no net fits the brief, there is no study.
    first = first_candidate(runner.space, settings.seed)
    with _study_folder(folder):
        place = settings.place(folder, storage)
        worker = SearchWorker(settings, runner, place, first, limit=trials, log=log)
        settings.save(place)
    notes = (*(teacher.notes if teacher else ()), *_ranking_notes(runner.data))
    for line in _header(settings, runner, first, teacher):
        log(line)
    # In this order: another process may start a trial in between.
    numbers = place.trial_numbers()
    check_trials(runner, place, worker.store.trials(), numbers)
    with stop_on_signals() as stop:
        if crew is None:
            worker.run(stop, Deadline(stop, end))
        else:
            crew.run(worker, stop, end)
    results = worker.store.trials()
    data = summarize(settings, runner, results, notes)
    page = write_report(data, settings, runner, results)
    if stop.signal and stop.signal != ALARM:
        raise _stopped_error(stop.signal, data, page)
    return SearchResult(data=data, page=page)


def _stopped_error(number: int, data: SearchData, page: Path) -> StoppedError:
    error = StoppedError(number, f"after {data.complete} complete trainings")
    fix = f"the same command resumes; results so far: {page}"
    error.problems = tuple(replace(problem, fix=fix) for problem in error.problems)
    return error


@contextmanager
def _study_folder(folder: Path) -> Iterator[None]:
    """Be the only process that opens a study; a new folder is removed if that fails."""
    files.make_folder(folder)
    try:
        with locks.lock_file(folder / _LOCK, wait=True):
            yield
    except ConvsmithError:
        with suppress(OSError):
            folder.rmdir()
        raise


def check_trials(
    runner: TrialRunner, place: StudyPlace, trials: Sequence[Trial], folders: Collection[int]
) -> None:
    """Compare what the storage has of trials with their nets and with the metrics of their trainings.

    Args:
        runner: Of the search.
        place: Of the study.
        trials: In the storage.
        folders: The numbers of the trials that have a folder.

    Raises:
        RunError: They differ; one problem for each trial.
    """
    differences = {trial.number: _difference(runner, trial) for trial in trials}
    differences |= dict.fromkeys(sorted({*folders} - differences.keys()), "missing, it has a folder")
    problems = [
        Problem(
            what=f"trial {number}: {difference}",
            where=place.where,
            fix="restore the files of the study from a copy, or start another study with --study",
        )
        for number, difference in differences.items()
        if difference
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
