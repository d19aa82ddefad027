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
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from convsmith.errors import FileError
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, Proposal
from convsmith.nas.pareto import ParetoPoint
from convsmith.nas.search_space import SearchSpace
from convsmith.system import paths, reading

JOURNAL, _STUDY_NAME = "journal.log", "convsmith"
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
        _truncate_partial_line(path, lock)
        with _quiet():
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
        return [
            _trial(each) for each in self.study.get_trials(deepcopy=False) if _CANDIDATE in each.user_attrs
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
    record = trial.user_attrs[_CANDIDATE]
    states: dict[TrialState, Literal["complete", "failed"]] = {
        TrialState.COMPLETE: "complete",
        TrialState.FAIL: "failed",
    }
    return Trial(
        number=trial.number,
        candidate=Candidate(
            net=record["net"],
            fields=record["fields"],
            parent=record["parent"],
            changes=tuple(record["changes"]),
        ),
        accuracies={epoch: float(value) for epoch, value in sorted(trial.intermediate_values.items())},
        state=states.get(trial.state, "open"),
        reason=trial.user_attrs.get(_REASON, ""),
        seconds=trial.user_attrs.get(_SECONDS, 0.0),
        rejected=record["refused"],
        parameters=record["parameters"],
        macs=record["macs"],
        receptive_field=record["receptive_field"],
    )


def _truncate_partial_line(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Remove the partial line that a crash has left at the end of a journal; Optuna cannot read past it."""
    if not paths.is_file(path):
        return
    lock.acquire()
    try:
        content = reading.read_bytes(path)
        length = content.rfind(b"\n") + 1
        if length < len(content):
            with path.open("r+b") as file:
                file.truncate(length)
    except OSError as error:
        raise FileError(f"cannot be repaired: {error.strerror or error}", where=str(path)) from error
    finally:
        lock.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable Optuna's own messages for the block."""
    previous = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(previous)
