"""The trials of a search, kept by Optuna in a journal that processes and machines may share."""

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
from convsmith.nas.candidate import Candidate, Space
from convsmith.nas.evolution import EvaluatedCandidate, Offspring
from convsmith.nas.pareto import Point
from convsmith.system import reading

JOURNAL = "journal.log"
# What a trial's candidate is kept under: all of it at once, so that no reader sees a part.
_CANDIDATE, _REASON, _SECONDS = "candidate", "reason", "seconds"
Breeder = Callable[[int, Sequence[EvaluatedCandidate], Sequence[Candidate]], Offspring]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate as far as it came.

    Attributes:
        number: Trial 0 is the starting point.
        scores: Accuracy on held-out images by epoch, at the rungs that it came to.
        state: "open" may go on, "complete" was trained to the end, "failed" cannot go on.
        reason: Why it failed.
        seconds: What it took, to the last rung.
        refused: Candidates that the arithmetic refused before this one.
        parameters: Of its net.
        macs: Multiply-accumulates for one image.
        receptive_field: In pixels a side; None where it is unknown.
    """

    number: int
    candidate: Candidate
    scores: dict[int, float]
    state: Literal["open", "complete", "failed"]
    reason: str
    seconds: float
    refused: int
    parameters: int
    macs: int
    receptive_field: int | None

    def point(self, held_out: int) -> Point | None:
        """Where it stands, of so many held-out images; None before its first rung."""
        if not self.scores:
            return None
        epochs = max(self.scores)
        return Point(
            number=self.number,
            epochs=epochs,
            correct=round(self.scores[epochs] * held_out),
            total=held_out,
            parameters=self.parameters,
            macs=self.macs,
        )


class Journal:
    """An Optuna study in a folder.

    Args:
        folder: Is there.
        space: Where candidates come from.
        held_out: How many images a trial is scored on.
        breed: Makes the candidate of a trial, from its number, what is known, and all candidates so far.
    """

    def __init__(self, folder: Path, space: Space, held_out: int, breed: Breeder) -> None:
        self.space, self.held_out = space, held_out
        self.distributions: dict[str, BaseDistribution] = {
            each.key: FloatDistribution(each.low, each.high, log=each.log) for each in space.fields
        }
        path = folder / JOURNAL
        lock = JournalFileSymlinkLock(str(path))
        _mend(path, lock)
        with _quietly():
            self.sampler = _Sampler(
                self.distributions, lambda number: breed(number, self.known(), self.candidates())
            )
            self.study = optuna.create_study(
                study_name="convsmith",
                storage=JournalStorage(JournalFileBackend(str(path), lock)),
                sampler=self.sampler,
                direction="maximize",
                load_if_exists=True,
            )

    def trials(self) -> list[Trial]:
        """All trials that have a candidate, as they are now, by number."""
        return [
            _trial(each) for each in self.study.get_trials(deepcopy=False) if _CANDIDATE in each.user_attrs
        ]

    def candidates(self) -> list[Candidate]:
        return [trial.candidate for trial in self.trials()]

    def known(self) -> list[EvaluatedCandidate]:
        """Those that were trained to a rung at least."""
        return [
            EvaluatedCandidate(candidate=trial.candidate, point=point)
            for trial in self.trials()
            if trial.state != "failed" and (point := trial.point(self.held_out))
        ]

    def begin(self, limit: int | None) -> Trial | None:
        """A new trial with a candidate of its own; None where others have begun the last of `limit`."""
        with _quietly():
            trial = self.study.ask(self.distributions)
        bred = self.sampler.bred.pop(trial.number)
        if limit is not None and trial.number >= limit:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        candidate, analysis = bred.candidate, self.space.analysis(bred.candidate)
        record = {
            "net": candidate.net,
            "fields": dict(candidate.fields),
            "parent": candidate.parent,
            "changes": list(candidate.changes),
            "refused": bred.refused,
            "parameters": analysis.parameters,
            "macs": analysis.macs,
            "receptive_field": analysis.receptive_field,
        }
        trial.set_user_attr(_CANDIDATE, record)
        return self.trial(trial.number)

    def trial(self, number: int) -> Trial:
        """One trial as it is now."""
        return next(trial for trial in self.trials() if trial.number == number)

    def report(self, number: int, epoch: int, accuracy: float, *, seconds: float, last: bool) -> None:
        """A trial has come to a rung; with the last one it is complete."""
        trial = self._open(number)
        trial.report(accuracy, epoch)
        trial.set_user_attr(_SECONDS, seconds)
        if last:
            self.study.tell(trial, accuracy)

    def fail(self, number: int, reason: str) -> None:
        """A trial cannot go on."""
        trial = self._open(number)
        trial.set_user_attr(_REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _open(self, number: int) -> optuna.trial.Trial:
        found = next(each for each in self.study.get_trials(deepcopy=False) if each.number == number)
        return optuna.trial.Trial(self.study, found._trial_id)  # noqa: SLF001 - Optuna's way to a trial that runs


class _Sampler(BaseSampler):
    """Gives Optuna the values of the candidate that is bred for a trial."""

    def __init__(self, space: dict[str, BaseDistribution], breed: Callable[[int], Offspring]) -> None:
        self.space, self.breed = space, breed
        self.bred: dict[int, Offspring] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        del study, trial
        return self.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        del study, search_space
        self.bred[trial.number] = self.breed(trial.number)
        return dict(self.bred[trial.number].candidate.fields)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        del study, param_distribution
        return self.bred[trial.number].candidate.fields[param_name]


def _trial(found: FrozenTrial) -> Trial:
    record = found.user_attrs[_CANDIDATE]
    states: dict[TrialState, Literal["complete", "failed"]] = {
        TrialState.COMPLETE: "complete",
        TrialState.FAIL: "failed",
    }
    return Trial(
        number=found.number,
        candidate=Candidate(
            net=record["net"],
            fields=record["fields"],
            parent=record["parent"],
            changes=tuple(record["changes"]),
        ),
        scores={epoch: float(value) for epoch, value in sorted(found.intermediate_values.items())},
        state=states.get(found.state, "open"),
        reason=found.user_attrs.get(_REASON, ""),
        seconds=found.user_attrs.get(_SECONDS, 0.0),
        refused=record["refused"],
        parameters=record["parameters"],
        macs=record["macs"],
        receptive_field=record["receptive_field"],
    )


def _mend(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Take away half a line that a crash has left at the journal's end, which nobody could read past."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        content = reading.read_bytes(path)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
    except OSError as error:
        raise FileError(f"cannot be mended: {error.strerror or error}", where=str(path)) from error
    finally:
        lock.release()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Optuna's own lines, for the block: the search tells what happens."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
