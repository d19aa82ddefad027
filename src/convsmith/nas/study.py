"""The trials of a search, in an Optuna study.

Optuna is only the store: evolution proposes the candidates, successive halving decides what is trained, and
checkpoints are files. Of Optuna's public interface `create_study` and `load_study` open a study, `add_trial`
adds a trial with its candidate, `Study.set_user_attr` records its results, and `Study.tell` finishes it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

from convsmith.errors import RunError
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, Proposal
from convsmith.nas.pareto import ParetoPoint
from convsmith.nas.place import StudyPlace
from convsmith.nas.search_space import SearchSpace
from convsmith.nas.storage import open_storage, storage_errors
from convsmith.system import locks

# User attributes of Optuna's trials and study; each is written as a whole, never in parts.
_CANDIDATE, _TOKEN, _SETTINGS, _FOLDER = "candidate", "token", "settings", "folder"
_START_LOCK = ".start.lock"
Propose = Callable[[int, Sequence[EvaluatedCandidate], Sequence[Candidate]], Proposal]
State = Literal["open", "complete", "failed"]
_STATES: Mapping[TrialState, State] = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate and its results so far.

    Attributes:
        number: 0 for the starting point.
        accuracies: On held-out images, by epoch, at the rungs that were reached.
        durations: Seconds of training and evaluation up to a rung, by epoch.
        state: "open", "complete" or "failed".
        reason: Why it failed.
        rejected: Number of candidates that the arithmetic rejected before this one.
        parameters: Of its net.
        macs: Multiply-accumulates per image.
        receptive_field: In pixels; None if it is unknown.
    """

    number: int
    candidate: Candidate
    accuracies: dict[int, float]
    durations: dict[int, float]
    state: State
    reason: str
    rejected: int
    parameters: int
    macs: int
    receptive_field: int | None

    @property
    def seconds(self) -> float:
        """Duration of training and evaluation up to the last rung."""
        return max(self.durations.values(), default=0.0)

    def point(self, held_out: int) -> ParetoPoint | None:
        """Return its result at the last rung, of `held_out` images; None before the first rung."""
        if not self.accuracies:
            return None
        epochs = max(self.accuracies)
        return ParetoPoint(
            number=self.number,
            epochs=epochs,
            correct=round(self.accuracies[epochs] * held_out),
            total=held_out,
            parameters=self.parameters,
            macs=self.macs,
        )


class TrialStore:
    """The trials of a study, which several processes may share.

    Args:
        place: Of the study.
        settings: Of the search, as a plain table.
        space: The search space.
        held_out: The number of images that accuracies are measured on.
        propose: Returns the candidate of a trial, given its number, the population, and all candidates.

    Raises:
        RunError: The storage is damaged, lacks the study, or has one of that name with other settings.
        ProcessError: The storage does not answer.
        MissingExtraError: The driver of the storage is not installed.
    """

    def __init__(
        self,
        place: StudyPlace,
        settings: dict[str, Any],
        space: SearchSpace,
        held_out: int,
        propose: Propose,
    ) -> None:
        self.place, self.space, self.held_out, self.propose = place, space, held_out, propose
        self.distributions: dict[str, BaseDistribution] = {
            each.key: FloatDistribution(each.low, each.high, log=each.log) for each in space.hyperparameters
        }
        with self._lock(), self._errors():
            self.study = _open_study(place, settings)
            self._finish()

    def trials(self) -> list[Trial]:
        """Return the current state of all trials that have a candidate, by number."""
        with self._errors():
            # Trials first: a result in between is read later, and never one without its trial.
            trials = self.study.get_trials(deepcopy=False)
            results = self.study.user_attrs
            return [
                _trial(each, results.get(_result_key(each.number)))
                for each in trials
                if _CANDIDATE in each.user_attrs
            ]

    def start(self, limit: int | None) -> Trial | None:
        """Start a trial with a new candidate; return None if there are `limit` trials already.

        Raises:
            RecipeError: No new candidate was found.
        """
        # One process at a time, so that no candidate is proposed twice and no trial exceeds the limit.
        with self._lock(), self._errors():
            trials = self.trials()
            if limit is not None and len(trials) >= limit:
                return None
            # Optuna counts all trials; earlier versions left some without a candidate.
            number = len(self.study.get_trials(deepcopy=False))
            proposal = self.propose(
                number, _population(trials, self.held_out), [trial.candidate for trial in trials]
            )
            candidate, analysis = proposal.candidate, self.space.analysis(proposal.candidate)
            record = _Record(
                number=number,
                net=candidate.net,
                fields=dict(candidate.fields),
                parent=candidate.parent,
                changes=candidate.changes,
                refused=proposal.rejected,
                parameters=analysis.parameters,
                macs=analysis.macs,
                receptive_field=analysis.receptive_field,
            )
            self.study.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=dict(candidate.fields),
                    distributions=self.distributions,
                    user_attrs={_CANDIDATE: record.model_dump(mode="json")},
                )
            )
        return self.trial(number)

    def trial(self, number: int) -> Trial:
        """Return the current state of a trial."""
        return next(trial for trial in self.trials() if trial.number == number)

    def report(self, number: int, epoch: int, accuracy: float, *, seconds: float, last: bool) -> None:
        """Record the result of a trial at a rung; at the last rung it is complete."""
        trial = self.trial(number)
        result = _Result(
            accuracies={**trial.accuracies, epoch: accuracy},
            durations={**trial.durations, epoch: seconds},
            state="complete" if last else "open",
        )
        self._record(number, result)

    def fail(self, number: int, reason: str) -> None:
        """Record that a trial has failed."""
        trial = self.trial(number)
        result = _Result(
            accuracies=trial.accuracies, durations=trial.durations, state="failed", reason=reason
        )
        self._record(number, result)

    def _record(self, number: int, result: "_Result") -> None:
        """Write the result of a trial, which one process trains at a time."""
        with self._errors():
            self.study.set_user_attr(_result_key(number), result.model_dump(mode="json"))
            self._tell(number, result)

    def _tell(self, number: int, result: "_Result | Trial") -> None:
        # Another process may finish the same trial when it opens the study.
        with suppress(UpdateFinishedTrialError):
            if result.state == "complete":
                accuracy = result.accuracies[max(result.accuracies)]
                self.study.tell(number, accuracy, skip_if_finished=True)
            elif result.state == "failed":
                self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _finish(self) -> None:
        """Finish Optuna's trials whose process was killed after it had written their last result."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if running:
            trials = {trial.number: trial for trial in self.trials()}
            for each in running:
                if each.number in trials:
                    self._tell(each.number, trials[each.number])

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with locks.lock_file(self.place.folder / _START_LOCK, wait=True):
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with _quiet(), storage_errors(self.place.folder, self.place.storage):
            yield


def _population(trials: Sequence[Trial], held_out: int) -> list[EvaluatedCandidate]:
    """Return the candidates that have reached a rung and have not failed."""
    return [
        EvaluatedCandidate(candidate=trial.candidate, point=point)
        for trial in trials
        if trial.state != "failed" and (point := trial.point(held_out))
    ]


def _open_study(place: StudyPlace, settings: dict[str, Any]) -> optuna.Study:
    """Open the study of a folder; create it if the folder is new."""
    storage = open_storage(place.folder, place.storage)
    # Never used: candidates are proposed by evolution.
    sampler = RandomSampler(seed=0)
    try:
        study = optuna.load_study(study_name=place.name, storage=storage, sampler=sampler)
    except KeyError:
        if place.has_trials:
            raise RunError(
                f"the study {place.name!r} is missing, the folder has its trials",
                where=place.where,
                fix="restore the storage from a copy, or start another study with --study",
            ) from None
        study = optuna.create_study(
            study_name=place.name, storage=storage, sampler=sampler, direction="maximize"
        )
    if place.storage is None:
        return study
    attributes = study.user_attrs
    # A process that was killed while it began a search has left no trial.
    is_own = attributes.get(_FOLDER, place.description) == place.description
    if is_own and not study.get_trials(deepcopy=False):
        for key, value in ((_SETTINGS, settings), (_FOLDER, place.description), (_TOKEN, place.token)):
            study.set_user_attr(key, value)
    elif attributes.get(_TOKEN) != place.token:
        raise _foreign_study(place, settings, attributes)
    return study


def _foreign_study(place: StudyPlace, settings: dict[str, Any], attributes: Mapping[str, Any]) -> RunError:
    """Return the error for a study of the same name that is that of another folder, or of another program."""
    others = attributes.get(_SETTINGS, {})
    owner = f"of the folder {attributes[_FOLDER]}" if _FOLDER in attributes else "not of a search"
    different = (
        [key for key in settings if others.get(key) != settings[key]] if isinstance(others, dict) else []
    )
    what = f", with other settings: {', '.join(different)}" if different else ""
    return RunError(
        f"the storage has a study {place.name!r} {owner}{what}",
        where=place.where,
        fix="a study is named as its folder: choose another with --study, or share the folder of that one",
    )


class _Record(BaseModel):
    """A candidate in the storage; studies of version 0.1.0 have no number in it."""

    number: NonNegativeInt | None = None
    net: str
    fields: dict[str, float]
    parent: NonNegativeInt | None
    changes: tuple[str, ...]
    refused: NonNegativeInt
    parameters: NonNegativeInt
    macs: NonNegativeInt
    receptive_field: int | None


_Accuracies = dict[PositiveInt, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Result(BaseModel):
    """The results of a trial in the storage, by epoch."""

    accuracies: _Accuracies = Field(default_factory=dict)
    durations: dict[PositiveInt, _Seconds] = Field(default_factory=dict)
    state: State = "open"
    reason: str = ""


def _result_key(number: int) -> str:
    return f"trial {number}"


def _trial(trial: FrozenTrial, result: object) -> Trial:
    record = _Record.model_validate(trial.user_attrs[_CANDIDATE])
    if record.number not in (None, trial.number):
        raise ValueError(f"trial {trial.number} has the candidate of trial {record.number}")
    results = _old_result(trial) if result is None else _Result.model_validate(result)
    if results.state == "complete" and not results.accuracies:
        raise ValueError(f"trial {trial.number} is complete without an accuracy")
    return Trial(
        number=trial.number,
        candidate=Candidate(
            net=record.net, fields=record.fields, parent=record.parent, changes=record.changes
        ),
        accuracies=dict(sorted(results.accuracies.items())),
        durations=dict(results.durations),
        state=results.state,
        reason=results.reason,
        rejected=record.refused,
        parameters=record.parameters,
        macs=record.macs,
        receptive_field=record.receptive_field,
    )


def _old_result(trial: FrozenTrial) -> _Result:
    """Return the results of a trial that version 0.1.0 recorded, as attributes of Optuna's trial."""
    accuracies = dict(trial.intermediate_values)
    seconds = trial.user_attrs.get("seconds")
    return _Result.model_validate(
        {
            "accuracies": accuracies,
            "durations": {max(accuracies): seconds} if accuracies and seconds is not None else {},
            "state": _STATES.get(trial.state, "open"),
            "reason": trial.user_attrs.get("reason", ""),
        }
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable Optuna's own messages for the block."""
    previous = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(previous)
