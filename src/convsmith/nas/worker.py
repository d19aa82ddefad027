"""Training a trial up to a rung, in a folder of its own, from where it stands."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.data.dataset import TrainingData
from convsmith.errors import RunError
from convsmith.nas.candidate import Candidate, Space
from convsmith.net.module import build
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import STATE, RunFolder
from convsmith.runs.log import RunWriter
from convsmith.system import files
from convsmith.system.device import choose_device, choose_precision, threads_for
from convsmith.system.rng import new_generator
from convsmith.system.signals import ALARM, StopRequest
from convsmith.training.callbacks import Callback
from convsmith.training.distillation import Teacher
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.state import TrainerState
from convsmith.training.trainer import fit


@dataclass(frozen=True, kw_only=True)
class TrialRunner:
    """Where trials are trained.

    Attributes:
        folder: Of the study; trials have folders of their own in it.
        space: Where candidates come from.
        data: With held-out images as its validation split; it has no test images.
        epochs: Of a whole training.
        teacher: Of all candidates.
    """

    folder: Path
    space: Space
    data: TrainingData
    epochs: int
    teacher: Teacher | None = None

    @property
    def held_out(self) -> int:
        assert self.data.validation is not None
        return len(self.data.validation)

    def place(self, number: int) -> Path:
        """A trial's folder, which is made where it is missing."""
        return files.make_folder(self.folder / "trials" / f"{number:04}")

    def recipe_of(self, candidate: Candidate, until: int) -> Recipe:
        """What a candidate is trained by: its schedule is that of all epochs, however soon it stops."""
        recipe = self.space.recipe_of(candidate)
        macs = self.space.analysis(candidate).macs * recipe.train.batch_size
        device = choose_device(recipe.train.device)
        schedule = recipe.train.schedule
        if isinstance(schedule, Plateau):
            schedule = schedule.model_copy(update={"monitor": "validation"})
        settled = {
            "epochs": self.epochs,
            "stop_after": until if until < self.epochs else None,
            "schedule": schedule,
            "precision": choose_precision(recipe.train.precision, device, macs),
        }
        return recipe.model_copy(update={"train": recipe.train.model_copy(update=settled)})

    def train(
        self,
        number: int,
        candidate: Candidate,
        until: int,
        *,
        callbacks: Sequence[Callback] = (),
        stop: StopRequest | None = None,
    ) -> tuple[EpochMetrics, ...]:
        """Train a candidate until so many epochs are done; the trial's folder is held by the caller.

        Raises:
            DivergedError: A loss or gradient is not finite.
            StoppedError: `stop` was asked for; the state is saved.
        """
        recipe = self.recipe_of(candidate, until)
        folder = RunFolder(path=self.place(number))
        files.write_toml(folder.path / "recipe.toml", recipe.table())
        analysis = self.space.analysis(candidate)
        net = build(analysis.plan, generator=new_generator(recipe.seed))
        with threads_for(analysis.macs * recipe.train.batch_size):
            return fit(
                net,
                self.data,
                recipe.train,
                recipe.augment,
                seed=recipe.seed,
                teacher=self.teacher,
                callbacks=[RunWriter(folder, {}), *callbacks],
                state=_saved(folder),
                stop=stop,
            )


class Deadline(Callback):
    """Asks for a stop, as an alarm would, once the time of the search is over."""

    def __init__(self, stop: StopRequest, end: float | None) -> None:
        self.stop, self.end = stop, end

    @property
    def passed(self) -> bool:
        """Whether the time, by `time.monotonic`, is over."""
        return self.end is not None and time.monotonic() >= self.end

    def on_batch_end(self, batch: BatchMetrics) -> None:
        del batch
        if self.passed and not self.stop.signal:
            self.stop.signal = ALARM


def _saved(folder: RunFolder) -> TrainerState | None:
    """Where a trial stands; None at its beginning, and where what it left is damaged."""
    if not (folder.path / STATE).is_file():
        return None
    try:
        return folder.load_checkpoint().state
    except RunError:
        return None
