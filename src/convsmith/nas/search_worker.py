"""One process of a search: propose a candidate, or go on with one, until nothing is left to do."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from convsmith.data.dataset import load_training_data
from convsmith.errors import BusyError, DivergedError, RecipeError, ShapeError, StoppedError
from convsmith.models.teacher import TeacherModel, load_teacher
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, Proposal, next_candidate
from convsmith.nas.halving import promotable
from convsmith.nas.place import StudyPlace
from convsmith.nas.search_space import SearchSpace
from convsmith.nas.settings import SearchSettings
from convsmith.nas.study import Trial, TrialStore
from convsmith.nas.worker import Deadline, TrialRunner
from convsmith.recipes.fit import analyze_recipe
from convsmith.system import locks
from convsmith.system.signals import StopRequest
from convsmith.text import percent
from convsmith.training.class_weights import class_weights_of

Log = Callable[[str], None]
# Between two looks for work that other processes leave.
_POLL_SECONDS = 0.5


class SearchWorker:
    """One process of a search.

    Args:
        settings: Of the search.
        runner: Trains the trials.
        place: Of the study.
        first: The candidate of trial 0.
        limit: The number of trials; None for no limit.
        log: Called with a line for each trial that reaches a rung.
    """

    def __init__(
        self,
        settings: SearchSettings,
        runner: TrialRunner,
        place: StudyPlace,
        first: Proposal,
        *,
        limit: int | None,
        log: Log = lambda _: None,
    ) -> None:
        self.settings, self.runner, self.first = settings, runner, first
        self.limit, self.log = limit, log
        self.store = TrialStore(place, settings.record(), runner.space, runner.held_out, self.propose)
        # Why no further candidate can be proposed.
        self.exhausted = ""

    def propose(
        self, number: int, population: Sequence[EvaluatedCandidate], candidates: Sequence[Candidate]
    ) -> Proposal:
        """Propose the candidate of a trial. It depends only on the arguments and the seed."""
        if number == 0:
            return self.first
        random = Random(f"{self.settings.seed} {number}")  # noqa: S311 - not cryptographic
        return next_candidate(self.runner.space, population, [self.first.candidate, *candidates], random)

    def run(self, stop: StopRequest, deadline: Deadline) -> None:
        """Work until the search is complete, the time limit is reached, or a stop is requested."""
        while not stop.signal and not deadline.passed:
            if self.promote(stop, deadline) or self.start(stop, deadline):
                continue
            if not self.pending():
                return
            # Other processes train what is left. Their results may promote trials, and one that is killed
            # leaves its trial.
            time.sleep(_POLL_SECONDS)

    def promote(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Train a pending trial that no other process trains; return False if there is none."""
        return any(self.advance(number, until, stop, deadline) for number, until in self.pending())

    def start(self, stop: StopRequest, deadline: Deadline) -> bool:
        """Start a trial and train it to its first rung; return False if there are no more trials."""
        if self.exhausted:
            return False
        try:
            trial = self.store.start(self.limit)
        except RecipeError as error:
            self.exhausted = error.problems[0].what
            self.log(exhausted_line(self.exhausted))
            return False
        if trial is None:
            return False
        # Another process may have locked it before.
        self.advance(trial.number, self.settings.rungs[0], stop, deadline)
        return True

    def pending(self) -> list[tuple[int, int]]:
        """Return the trials to be trained, with their next rung: interrupted ones, then promotable ones."""
        trials = {trial.number: trial for trial in self.store.trials() if trial.state != "failed"}
        interrupted = [
            (number, self.settings.rungs[0]) for number, trial in trials.items() if not trial.accuracies
        ]
        accuracies = {number: trial.accuracies for number, trial in trials.items()}
        promotions = promotable(accuracies, self.settings.rungs, self.settings.factor)
        return [each for each in (*interrupted, *promotions) if trials[each[0]].state == "open"]

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
            self.log(failure_line(self.store.trial(trial.number)))
            return
        metrics = history[until - 1].validation
        assert metrics is not None
        seconds = math.fsum(each.seconds for each in history)
        last = until == self.settings.epochs
        self.store.report(trial.number, until, metrics.accuracy, seconds=seconds, last=last)
        self.log(rung_line(self.store.trial(trial.number), until, self.settings.epochs))


def rung_line(trial: Trial, epoch: int, epochs: int) -> str:
    """Format the result of a trial at a rung."""
    return (
        f"#{trial.number:<4} {epoch}/{epochs} epochs  {percent(trial.accuracies[epoch])}  "
        f"{trial.parameters:,} parameters, {trial.macs:,} MACs  {trial.durations.get(epoch, 0.0):.0f} s  "
        f"{trial.candidate.net}{_origin(trial.candidate)}"
    )


def failure_line(trial: Trial) -> str:
    """Format why a trial has failed."""
    return f"#{trial.number:<4} failed: {trial.reason}  {trial.candidate.net}"


def exhausted_line(reason: str) -> str:
    """Format why a search has no further candidates."""
    return f"No further candidates: {reason}"


def _origin(candidate: Candidate) -> str:
    """Return its parent and mutations in brackets; empty for the starting point."""
    if candidate.parent is None:
        return ""
    return f"  (from #{candidate.parent}: {'; '.join(candidate.changes)})"


def prepare(settings: SearchSettings, folder: Path) -> tuple[TrialRunner, TeacherModel | None]:
    """Load the data and the teacher of a search."""
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
