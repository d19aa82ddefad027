"""The trials of a search, stored by Optuna in a journal that processes and machines may share.

Optuna's public interface is used as follows. `create_study` with a `JournalStorage` opens the journal;
`study.ask` starts a trial; a `BaseSampler` supplies the hyperparameters of the candidate that evolution
proposes; `Trial.report`, `Trial.set_user_attr` and `study.tell` record results. The storage's
`get_trial_id_from_study_id_trial_number` gives access to a trial that another process has started.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, Field, NonNegativeInt, TypeAdapter

from convsmith.errors import ConvsmithError, FileError, RunError
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, Proposal
from convsmith.nas.pareto import ParetoPoint
from convsmith.nas.search_space import SearchSpace
from convsmith.system import files, paths, reading

JOURNAL, _STUDY_NAME = "journal.log", "convsmith"
# Codes of operations in the journal.
_CREATE_STUDY, _CREATE_TRIAL = 0, 4
# User attributes of a trial. The candidate is one attribute, so that no reader sees a part of it.
_CANDIDATE, _REASON, _SECONDS = "candidate", "reason", "seconds"
Propose = Callable[[int, Sequence[EvaluatedCandidate], Sequence[Candidate]], Proposal]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate and its results so far.

    Attributes:
        number: 0 for the starting point.
        accuracies: On held-out images, by epoch, at the rungs that were reached.
        state: "open", "complete" or "failed".
        reason: Why it failed.
        seconds: Duration of training and evaluation up to the last rung.
        rejected: Number of candidates that the arithmetic rejected before this one.
        parameters: Of its net.
        macs: Multiply-accumulates per image.
        receptive_field: In pixels; None if it is unknown.
    """

    number: int
    candidate: Candidate
    accuracies: dict[int, float]
    state: Literal["open", "complete", "failed"]
    reason: str
    seconds: float
    rejected: int
    parameters: int
    macs: int
    receptive_field: int | None

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
    """An Optuna study in a folder.

    Args:
        folder: An existing folder.
        space: The search space.
        held_out: The number of images that accuracies are measured on.
        propose: Returns the candidate of a trial, given its number, the population, and all candidates.
    """

    def __init__(self, folder: Path, space: SearchSpace, held_out: int, propose: Propose) -> None:
        self.space, self.held_out = space, held_out
        self.distributions: dict[str, BaseDistribution] = {
            each.key: FloatDistribution(each.low, each.high, log=each.log) for each in space.hyperparameters
        }
        path = folder / JOURNAL
        lock = JournalFileSymlinkLock(str(path))
        _prepare_journal(path, lock)
        self.path = path
        with _quiet(), _journal_errors(path):
            self.sampler = _Sampler(
                self.distributions, lambda number: propose(number, self.population(), self.candidates())
            )
            self.storage = JournalStorage(JournalFileBackend(str(path), lock))
            self.study = optuna.create_study(
                study_name=_STUDY_NAME,
                storage=self.storage,
                sampler=self.sampler,
                direction="maximize",
                load_if_exists=True,
            )

    def trials(self) -> list[Trial]:
        """Return the current state of all trials that have a candidate, by number."""
        with _journal_errors(self.path):
            return [
                _trial(each)
                for each in self.study.get_trials(deepcopy=False)
                if _CANDIDATE in each.user_attrs
            ]

    def candidates(self) -> list[Candidate]:
        return [trial.candidate for trial in self.trials()]

    def population(self) -> list[EvaluatedCandidate]:
        """Return the candidates that have reached a rung and have not failed."""
        return [
            EvaluatedCandidate(candidate=trial.candidate, point=point)
            for trial in self.trials()
            if trial.state != "failed" and (point := trial.point(self.held_out))
        ]

    def start(self, limit: int | None) -> Trial | None:
        """Start a trial with a new candidate; return None if there are `limit` trials already."""
        with _quiet():
            trial = self.study.ask(self.distributions)
        proposal = self.sampler.proposals.pop(trial.number)
        if limit is not None and trial.number >= limit:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        candidate, analysis = proposal.candidate, self.space.analysis(proposal.candidate)
        record = {
            "net": candidate.net,
            "fields": dict(candidate.fields),
            "parent": candidate.parent,
            "changes": list(candidate.changes),
            "refused": proposal.rejected,
            "parameters": analysis.parameters,
            "macs": analysis.macs,
            "receptive_field": analysis.receptive_field,
        }
        trial.set_user_attr(_CANDIDATE, record)
        return self.trial(trial.number)

    def trial(self, number: int) -> Trial:
        """Return the current state of a trial."""
        return next(trial for trial in self.trials() if trial.number == number)

    def report(self, number: int, epoch: int, accuracy: float, *, seconds: float, last: bool) -> None:
        """Record the result of a trial at a rung; at the last rung it is complete."""
        trial = self._optuna_trial(number)
        trial.report(accuracy, epoch)
        trial.set_user_attr(_SECONDS, seconds)
        if last:
            self.study.tell(trial, accuracy)

    def fail(self, number: int, reason: str) -> None:
        """Record that a trial has failed."""
        trial = self._optuna_trial(number)
        trial.set_user_attr(_REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _optuna_trial(self, number: int) -> optuna.trial.Trial:
        study_id = self.storage.get_study_id_from_name(_STUDY_NAME)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.trial.Trial(self.study, trial_id)


class _Record(BaseModel):
    """A candidate in the journal."""

    net: str
    fields: dict[str, float]
    parent: NonNegativeInt | None
    changes: tuple[str, ...]
    refused: NonNegativeInt
    parameters: NonNegativeInt
    macs: NonNegativeInt
    receptive_field: int | None


_SECONDS_TYPE: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, allow_inf_nan=False)])


class _Sampler(BaseSampler):
    """Passes the hyperparameters of proposed candidates to Optuna."""

    def __init__(self, space: dict[str, BaseDistribution], propose: Callable[[int], Proposal]) -> None:
        self.space, self.propose = space, propose
        self.proposals: dict[int, Proposal] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        del study, trial
        return self.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        del study, search_space
        self.proposals[trial.number] = self.propose(trial.number)
        return dict(self.proposals[trial.number].candidate.fields)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        del study, param_distribution
        return self.proposals[trial.number].candidate.fields[param_name]


def _trial(trial: FrozenTrial) -> Trial:
    record = _Record.model_validate(trial.user_attrs[_CANDIDATE])
    accuracies = {epoch: float(value) for epoch, value in sorted(trial.intermediate_values.items())}
    if not all(0 <= value <= 1 for value in accuracies.values()):
        raise ValueError(f"trial {trial.number} has an accuracy that is not from 0 to 1")
    states: dict[TrialState, Literal["complete", "failed"]] = {
        TrialState.COMPLETE: "complete",
        TrialState.FAIL: "failed",
    }
    return Trial(
        number=trial.number,
        candidate=Candidate(
            net=record.net, fields=record.fields, parent=record.parent, changes=record.changes
        ),
        accuracies=accuracies,
        state=states.get(trial.state, "open"),
        reason=str(trial.user_attrs.get(_REASON, "")),
        seconds=_SECONDS_TYPE.validate_python(trial.user_attrs.get(_SECONDS, 0.0)),
        rejected=record.refused,
        parameters=record.parameters,
        macs=record.macs,
        receptive_field=record.receptive_field,
    )


def _prepare_journal(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Check a journal, and remove the partial line that a crash has left at its end.

    Optuna cannot read past such a line, and ignores operations on studies and trials that do not exist.
    """
    if not paths.exists(path):
        return
    # A pipe or a device is refused here.
    reading.read_bytes(path)
    try:
        lock.acquire()
    except OSError as error:
        raise files.write_error(path, error) from error
    try:
        content = reading.read_bytes(path)
        length = content.rfind(b"\n") + 1
        with _journal_errors(path):
            _check_operations(content[:length].decode().splitlines())
        if length < len(content):
            with path.open("r+b") as file:
                file.truncate(length)
    except OSError as error:
        raise FileError(f"cannot be repaired: {error.strerror or error}", where=str(path)) from error
    finally:
        lock.release()


def _check_operations(lines: Sequence[str]) -> None:
    """Raise ValueError for an operation on a study or a trial that was not created before."""
    studies, trials = set(), 0
    for number, line in enumerate(lines, start=1):
        operation = reading.parse_json(line)
        code = operation["op_code"]
        if code == _CREATE_STUDY:
            studies.add(operation["study_name"])
        elif not 0 <= operation.get("study_id", 0) < len(studies):
            raise ValueError(
                f"line {number} is of study {operation.get('study_id', 0)}, which does not exist"
            )
        if code == _CREATE_TRIAL:
            trials += 1
        elif not 0 <= operation.get("trial_id", 0) < max(trials, 1):
            raise ValueError(f"line {number} is of trial {operation['trial_id']}, which does not exist")


@contextmanager
def _journal_errors(path: Path) -> Iterator[None]:
    """Raise RunError for whatever Optuna raises over a damaged journal.

    Raises:
        RunError: An operation in the journal is incomplete, unknown, or contradicts the others.
    """
    try:
        yield
    except ConvsmithError:
        raise
    except OSError as error:
        raise paths.read_error(path, error) from error
    # Optuna checks nothing, so that damage can raise nearly any exception.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise RunError(
            f"damaged: {reason}",
            where=str(path),
            fix="restore the file from a copy, or start another study with --study",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable Optuna's own messages for the block."""
    previous = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(previous)
