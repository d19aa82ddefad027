"""Callbacks: hooks that observe a training. The training loop itself prints and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convsmith.data.fold import TEST_SET
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from convsmith.training.state import TrainerState


@dataclass(frozen=True, kw_only=True)
class EpochStart:
    """The epoch that is about to start.

    Attributes:
        epoch: Counts from 1.
        epochs: Number of epochs of the training.
        num_batches: Batches per epoch.
        lr: Learning rate.
        may_stop: Whether early stopping may end the training before.
        evaluated: The name of the images that the net is evaluated on after the epoch.
    """

    epoch: int
    epochs: int
    num_batches: int
    lr: float
    may_stop: bool = False
    evaluated: str = TEST_SET.heading


class Callback:
    """Base class of callbacks; override the hooks of interest.

    Example:
        >>> class PrintAccuracy(Callback):
        ...     def on_epoch_end(self, metrics, net):
        ...         print(metrics.epoch, metrics.train.accuracy)
    """

    # Whether the callback shows the progress within an epoch, so that nothing else needs to.
    shows_progress: bool = False

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        """Called when the run folder exists; `opening` are lines that describe the run."""

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        """Called when training continues from `state`; `net` has the weights that are kept so far."""

    def on_compile_end(self, seconds: float) -> None:
        """Called when the training step is compiled. No epoch's time includes these `seconds`."""

    def on_checkpoint(self, state: TrainerState) -> None:
        """Called at the start, after each epoch, and before a requested stop.

        The tensors of `state` are live: copy them before the hook returns.
        """

    def on_epoch_start(self, start: EpochStart) -> None:
        """Called before the first batch of an epoch, and when an interrupted epoch continues."""

    def on_batch_end(self, batch: BatchMetrics) -> None:
        """Called after each batch."""

    def on_best_epoch(self, metrics: EpochMetrics, net: nn.Module) -> None:
        """Called before `on_epoch_end` if the weights of an epoch are kept as the best so far.

        Only with `train.keep = "best"` or early stopping; `net` is the net that was evaluated.
        """

    def on_early_stop(self, reason: str) -> None:
        """Called before `on_epoch_end` of the epoch that early stopping makes the last one."""

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        """Called after the evaluation of an epoch; `net` is the net that was evaluated."""

    def on_train_end(self, seconds: float) -> None:
        """Called after the last epoch; `seconds` are those of all epochs, training and evaluation."""

    def close(self) -> None:
        """Release resources, for example a terminal. Called after failures too."""


class CallbackList(Callback):
    """Calls each hook of several callbacks, in order."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)

    def on_run_start(self, folder: Path, opening: Sequence[str]) -> None:
        for callback in self.callbacks:
            callback.on_run_start(folder, opening)

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        for callback in self.callbacks:
            callback.on_resume(state, net)

    def on_compile_end(self, seconds: float) -> None:
        for callback in self.callbacks:
            callback.on_compile_end(seconds)

    def on_checkpoint(self, state: TrainerState) -> None:
        for callback in self.callbacks:
            callback.on_checkpoint(state)

    def on_epoch_start(self, start: EpochStart) -> None:
        for callback in self.callbacks:
            callback.on_epoch_start(start)

    def on_batch_end(self, batch: BatchMetrics) -> None:
        for callback in self.callbacks:
            callback.on_batch_end(batch)

    def on_best_epoch(self, metrics: EpochMetrics, net: nn.Module) -> None:
        for callback in self.callbacks:
            callback.on_best_epoch(metrics, net)

    def on_early_stop(self, reason: str) -> None:
        for callback in self.callbacks:
            callback.on_early_stop(reason)

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(metrics, net)

    def on_train_end(self, seconds: float) -> None:
        for callback in self.callbacks:
            callback.on_train_end(seconds)

    def close(self) -> None:
        for callback in self.callbacks:
            callback.close()
