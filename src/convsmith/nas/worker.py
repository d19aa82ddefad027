"""Train a trial to a rung, from its checkpoint."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.data.dataset import TrainingData
from convsmith.errors import RunError
from convsmith.modules.architecture import architecture_of
from convsmith.nas.candidate import Candidate
from convsmith.nas.place import TRIALS
from convsmith.nas.search_space import SearchSpace
from convsmith.recipes.session import TrainingSession
from convsmith.runs.folder import STATE, RunFolder
from convsmith.runs.log import BatchProgress
from convsmith.runs.writer import RunWriter
from convsmith.system import files, paths
from convsmith.system.signals import ALARM, StopRequest
from convsmith.training.callbacks import Callback
from convsmith.training.distillation import Teacher
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.state import TrainerState


@dataclass(frozen=True, kw_only=True)
class TrialRunner:
    """Trains the trials of a search.

    Attributes:
        folder: Of the study.
        space: The search space.
        data: Training data with a validation split, without test images.
        epochs: Of a complete training.
        teacher: Of all candidates.
    """

    folder: Path
    space: SearchSpace
    data: TrainingData
    epochs: int
    teacher: Teacher | None = None

    @property
    def held_out(self) -> int:
        assert self.data.validation is not None
        return len(self.data.validation)

    def trial_folder(self, number: int) -> Path:
        """Return a trial's folder; create it if it does not exist."""
        return files.make_folder(self.folder / TRIALS / f"{number:04}")

    def session(self, candidate: Candidate, until: int) -> TrainingSession:
        """Return the session for training to a rung; its schedule spans all epochs."""
        recipe = self.space.recipe_of(candidate)
        schedule = recipe.train.schedule
        if isinstance(schedule, Plateau):
            schedule = schedule.model_copy(update={"monitor": "validation"})
        # Trials are compared after equal numbers of epochs, by the weights that they have then.
        update = {
            "early_stopping": None,
            "keep": "last",
            "monitor": "accuracy",
            "epochs": self.epochs,
            "stop_after": until if until < self.epochs else None,
            "schedule": schedule,
        }
        return TrainingSession(
            recipe=recipe.model_copy(update={"train": recipe.train.model_copy(update=update)}),
            data=self.data,
            architecture=architecture_of(recipe.model),
            analysis=self.space.analysis(candidate),
        )

    def train(
        self,
        number: int,
        candidate: Candidate,
        until: int,
        *,
        callbacks: Sequence[Callback] = (),
        stop: StopRequest | None = None,
    ) -> tuple[EpochMetrics, ...]:
        """Train a candidate up to epoch `until`; the caller holds the lock of the trial's folder.

        Raises:
            DivergedError: A loss or gradient is not finite.
            StoppedError: A stop was requested; the state is saved.
        """
        session = self.session(candidate, until)
        folder = RunFolder(path=self.trial_folder(number))
        folder.write_recipe(session.resolved_recipe)
        return session.fit(
            session.build_net(),
            teacher=self.teacher,
            callbacks=[RunWriter(folder, {}), BatchProgress(f"Trial {number}"), *callbacks],
            state=_load_state(folder),
            stop=stop,
        )


class Deadline(Callback):
    """Requests a stop, like an alarm signal, when the time limit of the search is reached."""

    def __init__(self, stop: StopRequest, end: float | None) -> None:
        self.stop, self.end = stop, end

    @property
    def passed(self) -> bool:
        """Whether the time limit, by `time.monotonic`, is reached."""
        return self.end is not None and time.monotonic() >= self.end

    def on_batch_end(self, batch: BatchMetrics) -> None:
        del batch
        if self.passed and not self.stop.signal:
            self.stop.signal = ALARM


def _load_state(folder: RunFolder) -> TrainerState | None:
    """Return the checkpoint of a trial; None if it is missing or damaged."""
    if not paths.is_file(folder.path / STATE):
        return None
    try:
        return folder.load_checkpoint().state
    except RunError:
        return None
