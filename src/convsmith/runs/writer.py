"""The callback that keeps a run folder up to date."""

from collections.abc import Mapping

from torch import nn

from convsmith.runs.checkpoint import Checkpoint
from convsmith.runs.folder import RunFolder
from convsmith.training.callbacks import Callback
from convsmith.training.metrics import EpochMetrics
from convsmith.training.state import TrainerState


class RunWriter(Callback):
    """Writes the weights that are kept, of the last or of the best epoch, metrics and checkpoints.

    The checkpoint is written last, so that no other file is older than it: a training that resumes from it
    writes the others again.

    Args:
        folder: The run folder.
        conditions: From `conditions_of`; the checkpoints carry them.
        keeps_best: Whether the weights of the best epoch are kept, not those of the last.
    """

    def __init__(self, folder: RunFolder, conditions: Mapping[str, str], *, keeps_best: bool = False) -> None:
        self.folder, self.conditions, self.keeps_best = folder, conditions, keeps_best
        self.history: list[EpochMetrics] = []

    def on_resume(self, state: TrainerState, net: nn.Module) -> None:
        self.history = list(state.history)
        self.folder.write_metrics(self.history)
        if not self.history:
            return
        if self.keeps_best:
            self.folder.write_weights(net, epoch=int(state.tensors["best"]["epoch"]))
        elif not state.progress.step:
            self.folder.write_weights(net)

    def on_checkpoint(self, state: TrainerState) -> None:
        self.folder.write_checkpoint(Checkpoint(conditions=dict(self.conditions), state=state))

    def on_best_epoch(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.folder.write_weights(net, epoch=metrics.epoch)

    def on_epoch_end(self, metrics: EpochMetrics, net: nn.Module) -> None:
        self.history.append(metrics)
        if not self.keeps_best:
            self.folder.write_weights(net)
        self.folder.write_metrics(self.history)
