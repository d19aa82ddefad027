"""The callback that keeps a run folder up to date."""

from collections.abc import Mapping

from torch import nn

from convsmith.runs.checkpoint import Checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics
from convsmith.training.state import TrainerState


class RunWriter(Callback):
    """Writes weights, metrics and checkpoints.

    The checkpoint is written last, so that no other file is older than it: a training that resumes from it
    writes the others again.

    Args:
        folder: The run folder.
        conditions: From `conditions_of`; the checkpoints carry them.
    """

    def __init__(self, folder: RunFolder, conditions: Mapping[str, str]) -> None:
        self.folder, self.conditions = folder, conditions
        self.history: list[EpochMetrics] = []

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        self.history = list(state.history)
        self.folder.write_metrics(self.history)
        if self.history and not state.progress.step:
            self.folder.write_weights(net)

    def on_checkpoint(self, state: TrainerState) -> None:
        self.folder.write_checkpoint(Checkpoint(conditions=dict(self.conditions), state=state))

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.history.append(metrics)
        self.folder.write_weights(net)
        self.folder.write_metrics(self.history)
