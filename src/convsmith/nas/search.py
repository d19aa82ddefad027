"""The search from beginning to end: candidates are bred, judged, trained rung by rung, and told of."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from convsmith.data.dataset import load_training_data
from convsmith.errors import BusyError, DivergedError, RecipeError, ShapeError, StoppedError
from convsmith.models.teacher import KnownTeacher, teacher_of
from convsmith.nas.candidate import Candidate, Space
from convsmith.nas.evolution import EvaluatedCandidate, Offspring, first, next_one
from convsmith.nas.halving import promotable
from convsmith.nas.results import facts_of, write
from convsmith.nas.settings import Settings
from convsmith.nas.study import Journal, Trial
from convsmith.nas.worker import Deadline, TrialRunner
from convsmith.recipes.fit import fitted
from convsmith.reports.search_page import SearchData
from convsmith.system import files, locks
from convsmith.system.signals import ALARM, StopRequest, stop_on_signals
from convsmith.text import percent

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search came to: its facts, and the page that was written of them."""

    facts: SearchData
    page: Path


def search(
    settings: Settings,
    folder: Path,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    tell: Tell = lambda _: None,
) -> SearchResult:
    """Search, from the beginning or on from where the study in a folder stands; others may search it too.

    Args:
        settings: What is searched, and how.
        folder: Of the study; made where it is missing.
        trials: How many in all, of all processes.
        minutes: After which no more is trained; what is then in training is saved.
        tell: Takes a line for each trial that comes to a rung.

    Raises:
        RecipeError: The starting point does not fit its data, or nothing near it passes the brief.
        RunError: The study was begun with other settings.
        DataError: The data set cannot be found or read.
        StoppedError: Ctrl-C or SIGTERM; all that was done is kept, and the report is written.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    bench, teacher = _bench(settings, folder)
    # Before anything is written: a brief that nothing fits makes no study.
    opening = first(bench.space, settings.seed)
    files.make_folder(folder)
    settings.keep(folder)
    hunt = SearchWorker(settings, bench, opening, limit=trials, tell=tell)
    for line in _opening_lines(settings, bench, opening, teacher):
        tell(line)
    with stop_on_signals() as stop:
        hunt.run(stop, Deadline(stop, end))
    found = hunt.journal.trials()
    facts = facts_of(settings, bench, found, teacher.notes if teacher else ())
    page = write(facts, settings, bench, found)
    if stop.signal and stop.signal != ALARM:
        error = StoppedError(stop.signal, f"after {facts.complete} whole trainings")
        fix = f"the same command goes on from there; what was found so far: {page}"
        error.problems = tuple(replace(problem, fix=fix) for problem in error.problems)
        raise error
    return SearchResult(facts=facts, page=page)


class SearchWorker:
    """One process at work on a study.

    Args:
        settings: Of the search.
        bench: Where trials are trained.
        opening: The starting point.
        limit: Trials in all; None for no end.
        tell: Takes a line for each trial that comes to a rung.
    """

    def __init__(
        self, settings: Settings, bench: TrialRunner, opening: Offspring, *, limit: int | None, tell: Tell
    ) -> None:
        self.settings, self.bench, self.opening = settings, bench, opening
        self.limit, self.tell = limit, tell
        self.journal = Journal(bench.folder, bench.space, bench.held_out, self.breed)

    def breed(
        self, number: int, known: Sequence[EvaluatedCandidate], taken: Sequence[Candidate]
    ) -> Offspring:
        """The candidate of a trial. It depends on the seed, the number and what is known, on nothing else."""
        if number == 0:
            return self.opening
        random = Random(f"{self.settings.seed} {number}")  # noqa: S311 - no secret
        return next_one(self.bench.space, known, [self.opening.candidate, *taken], random)

    def run(self, stop: StopRequest, deadline: Deadline) -> None:
        """Work until there is no more to do, the time is over, or somebody asks for a stop."""
        while not stop.signal and not deadline.passed:
            if not self.go_on(stop, deadline) and not self.begin(stop, deadline):
                return

    def go_on(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Train one of the trials that may go on and that nobody else trains; False where there is none."""
        return any(self.advance(number, until, stop, deadline) for number, until in self.jobs())

    def begin(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Train a new trial to its first rung; False where there is to be none."""
        if self.limit is not None and len(self.journal.trials()) >= self.limit:
            return False
        try:
            trial = self.journal.begin(self.limit)
        except RecipeError as error:
            self.tell(f"No more: {error.problems[0].what}")
            return False
        return trial is not None and self.advance(trial.number, self.settings.rungs[0], stop, deadline)

    def jobs(self) -> list[tuple[int, int]]:
        """Which trials may go on, and to which rung: those that were interrupted first."""
        trials = [trial for trial in self.journal.trials() if trial.state != "failed"]
        begun = [(trial.number, self.settings.rungs[0]) for trial in trials if not trial.scores]
        scores = {trial.number: trial.scores for trial in trials}
        return [*begun, *promotable(scores, self.settings.rungs, self.settings.factor)]

    def advance(self, number: int, until: int, stop: StopRequest, deadline: Deadline) -> bool:
        """Train a trial to a rung; False where another process does, or has done."""
        try:
            with locks.lock_folder(self.bench.place(number)):
                trial = self.journal.trial(number)
                if trial.state != "open" or until in trial.scores:
                    return False
                self.train(trial, until, stop, deadline)
        except BusyError:
            return False
        return True

    def train(self, trial: Trial, until: int, stop: StopRequest, deadline: Deadline) -> None:
        """Train a trial whose folder is held, and write down what comes of it."""
        try:
            history = self.bench.train(trial.number, trial.candidate, until, callbacks=[deadline], stop=stop)
        except StoppedError:
            return
        except (DivergedError, RecipeError, ShapeError) as error:
            self.journal.fail(trial.number, error.problems[0].what)
            self.tell(f"#{trial.number:<4} failed: {error.problems[0].what}  {trial.candidate.net}")
            return
        reached = history[until - 1].validation
        assert reached is not None
        seconds = math.fsum(each.train_seconds + each.evaluation_seconds for each in history)
        last = until == self.settings.epochs
        self.journal.report(trial.number, until, reached.accuracy, seconds=seconds, last=last)
        self.tell(
            f"#{trial.number:<4} {until}/{self.settings.epochs} epochs  {percent(reached.accuracy)}  "
            f"{trial.parameters:,} parameters, {trial.macs:,} MACs  {seconds:.0f} s  "
            f"{trial.candidate.net}{_came_from(trial.candidate)}"
        )


def _came_from(candidate: Candidate) -> str:
    """Its parent and what was changed, in brackets; nothing for the starting point."""
    if candidate.parent is None:
        return ""
    return f"  (from #{candidate.parent}: {'; '.join(candidate.changes)})"


def _bench(settings: Settings, folder: Path) -> tuple[TrialRunner, KnownTeacher | None]:
    data = load_training_data(settings.data)
    recipe, outline = settings.recipe, data.outline
    most = settings.brief.max_macs or int(settings.macs_factor * fitted(recipe, outline).macs)
    space = Space(recipe=recipe, brief=settings.brief, outline=outline, max_macs=most)
    teacher = teacher_of(recipe.model_copy(update={"data": settings.data}), data)
    bench = TrialRunner(
        folder=folder,
        space=space,
        data=data,
        epochs=settings.epochs,
        teacher=teacher.teacher if teacher else None,
    )
    return bench, teacher


def _opening_lines(
    settings: Settings, bench: TrialRunner, opening: Offspring, teacher: KnownTeacher | None
) -> list[str]:
    how = "".join(f" ({each})" for each in opening.candidate.changes)
    rungs = ", ".join(map(str, settings.rungs))
    images = f"{len(bench.data.train):,} training images, {bench.held_out:,} held out"
    return [
        f"Brief: {settings.brief_name}; at most {bench.space.max_macs:,} MACs an image",
        f"Data: {bench.data.identity}; {images}; no test images",
        f"Trials of {settings.epochs} epochs, compared after {rungs}; one in {settings.factor} goes on",
        f"Starting point: {opening.candidate.net}{how}",
        *(teacher.lines() if teacher else ()),
        "",
    ]
