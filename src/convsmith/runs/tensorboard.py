"""Curves for TensorBoard: loss, accuracy, learning rate and duration of each epoch.

TensorBoard is an optional extra. Its files are a view of the history of a run, and no command reads them.
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
    """Writes the curves into the folder `tensorboard` of a run; the step of a point is its epoch.

    When a run is resumed, the curves are written again from the history in the checkpoint, so that each epoch
    appears once.

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
        for metrics in state.history:
            self.write(metrics)

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        del net
        self.write(metrics)

    def write(self, metrics: EpochMetrics) -> None:
        """Write one point of each curve, on disk at once."""
        if self.writer is None:
            self.writer = self.make_writer(str(self.folder))
        for name, value in curve_values(metrics).items():
            self.writer.add_scalar(name, value, metrics.epoch)
        self.writer.flush()

    def on_train_end(self, seconds: float) -> None:
        del seconds
        self.close()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def curve_values(metrics: EpochMetrics) -> dict[str, float]:
    """Return the values of an epoch by curve; a split that was not measured is absent."""
    splits = {"train": metrics.train, "validation": metrics.validation, "test": metrics.test}
    measured = {name: split for name, split in splits.items() if split is not None}
    return {
        **{f"loss/{name}": split.loss for name, split in measured.items()},
        **{f"accuracy/{name}": split.accuracy for name, split in measured.items()},
        **{
            f"balanced-accuracy/{name}": split.balanced_accuracy
            for name, split in measured.items()
            if split.balanced_accuracy is not None
        },
        **({} if metrics.clipped is None else {"clipped-steps": metrics.clipped}),
        "learning-rate": metrics.lr,
        "seconds/train": metrics.train_seconds,
        "seconds/evaluation": metrics.evaluation_seconds,
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
