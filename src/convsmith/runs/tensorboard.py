"""Curves for TensorBoard: an observer that writes loss, accuracy and learning rate of each epoch.

TensorBoard is an optional extra. Its files are a view of the run's history and nothing depends on them.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from convsmith.errors import MissingExtraError
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics
from convsmith.training.state import TrainerState

FOLDER = "tensorboard"


class TensorBoardWriter(Callback):
    """Writes loss, accuracy, learning rate and seconds into the folder `tensorboard` of a run.

    The step of a point is its epoch. A training that goes on writes the curves anew from the history in its
    state, so that they have every epoch once, whatever was written before it was interrupted.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        self.make_writer = _summary_writer()
        self.folder: Path | None = None
        self.writer: Any = None

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        del opening
        self.folder = folder / FOLDER

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        del net
        assert self.folder is not None
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        for facts in state.history:
            self.write(facts)

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        del net
        self.write(metrics)

    def write(self, facts: EpochMetrics) -> None:
        """One point on each curve, on disk at once."""
        if self.writer is None:
            self.writer = self.make_writer(str(self.folder))
        for name, value in points(facts).items():
            self.writer.add_scalar(name, value, facts.epoch)
        self.writer.flush()

    def on_train_end(self, seconds: float) -> None:
        del seconds
        self.close()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def points(facts: EpochMetrics) -> dict[str, float]:
    """The values of an epoch by the names of their curves; what was not measured is absent."""
    scores = {"train": facts.train, "validation": facts.validation, "test": facts.test}
    measured = {name: score for name, score in scores.items() if score is not None}
    return {
        **{f"loss/{name}": score.loss for name, score in measured.items()},
        **{f"accuracy/{name}": score.accuracy for name, score in measured.items()},
        "learning-rate": facts.lr,
        "seconds/train": facts.train_seconds,
        "seconds/evaluation": facts.evaluation_seconds,
    }


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the curves need TensorBoard, which is not installed",
            where="--tensorboard",
            fix="pip install 'convsmith[tensorboard]'",
        ) from error
    return SummaryWriter


@contextmanager
def curves(*, enabled: bool) -> Iterator[tuple[Callback, ...]]:
    """Provide the callback that writes for TensorBoard if it is enabled, and close it afterwards.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    if not enabled:
        yield ()
        return
    with closing(TensorBoardWriter()) as writer:
        yield (writer,)
