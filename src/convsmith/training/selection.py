"""The best epoch of a training, and early stopping: by a metric of the validation split, never by the test.

Both follow from the history of a training, so that a resumed one decides as an uninterrupted one would.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from convsmith.data.dataset import TrainingData
from convsmith.errors import Problem, RunError
from convsmith.modules.state import Layout, state_of
from convsmith.text import in_line, join_first, percent, plural
from convsmith.tracing.copies import copy_module
from convsmith.training.class_weights import class_counts
from convsmith.training.config import Monitor, TrainConfig
from convsmith.training.metrics import EpochMetrics
from convsmith.training.state import copy_tensors

_BEST, _EPOCH, _NET = "best", "epoch", "net."
_TITLES: Mapping[Monitor, str] = {
    "accuracy": "validation accuracy",
    "balanced_accuracy": "balanced validation accuracy",
    "loss": "validation loss",
}


def monitor_value(metrics: EpochMetrics, monitor: Monitor) -> float:
    """Return the monitored metric of an epoch, with the sign that makes more better; -inf if it is NaN."""
    assert metrics.validation is not None
    value = getattr(metrics.validation, monitor)
    if value is None or math.isnan(value):
        return -math.inf
    return float(-value if monitor == "loss" else value)


def best_epoch(history: Sequence[EpochMetrics], config: TrainConfig) -> int:
    """Return the epoch with the best monitored metric, the first of equal ones; 0 without epochs."""
    values = [monitor_value(each, config.monitor) for each in history]
    return 1 + values.index(max(values)) if values else 0


def epochs_without_improvement(history: Sequence[EpochMetrics], config: TrainConfig) -> int:
    """Count the epochs since the monitored metric last improved by more than `min_delta`.

    The count starts again where the training was extended.
    """
    min_delta = config.early_stopping.min_delta if config.early_stopping else 0.0
    extended = {phase.epochs for phase in config.phases or ()}
    reference, count = -math.inf, 0
    for metrics in history:
        value, count = monitor_value(metrics, config.monitor), count + 1
        if value > reference + min_delta or metrics.epoch == 1:
            reference, count = value, 0
        if metrics.epoch in extended:
            count = 0
    return count


def stops_early(history: Sequence[EpochMetrics], config: TrainConfig) -> bool:
    """Whether early stopping ends the training after the last epoch of a history."""
    stopping = config.early_stopping
    return stopping is not None and epochs_without_improvement(history, config) >= stopping.patience


def stop_reason(history: Sequence[EpochMetrics], config: TrainConfig) -> str:
    """Describe in a line why the training stops early."""
    best = best_epoch(history, config)
    more = ""
    if config.early_stopping and (delta := config.early_stopping.min_delta):
        more = f" (by more than {delta:g})"
    return (
        f"Stopped early after epoch {len(history)}: the {_TITLES[config.monitor]} has not improved{more} for "
        f"{plural(epochs_without_improvement(history, config), 'epoch')}, the best is "
        f"{monitor_text(history[best - 1], config.monitor)} after epoch {best}"
    )


def monitor_text(metrics: EpochMetrics, monitor: Monitor) -> str:
    """Return the value of the monitored metric as text."""
    assert metrics.validation is not None
    value = getattr(metrics.validation, monitor)
    return f"{value:.4f}" if monitor == "loss" else percent(value)


def monitor_title(monitor: Monitor) -> str:
    """Return the name of a monitored metric.

    Example:
        >>> monitor_title("balanced_accuracy")
        'balanced validation accuracy'
    """
    return _TITLES[monitor]


def kept_sentence(
    epochs: int, best: int | None, monitor: Monitor, value: float | None = None, kind: str = "test"
) -> str:
    """Describe whose weights a training ended with, for a page.

    Args:
        epochs: That were completed.
        best: The epoch that was selected; None if the last was kept.
        monitor: By what it was selected.
        value: The monitored metric of that epoch, if it is known.
        kind: Of the images that the net was evaluated on: "test", or "held-out" for a fold.

    Example:
        >>> kept_sentence(9, None, "loss")
        'The weights are those of the last epoch; no epoch was selected.'
        >>> kept_sentence(9, 4, "loss", 0.5)
        'The weights are those of epoch 4 of 9, the best by validation loss (0.5000); no test...'
    """
    if best is None:
        return "The weights are those of the last epoch; no epoch was selected."
    shown = ""
    if value is not None:
        shown = f" ({value:.4f})" if monitor == "loss" else f" ({percent(value)})"
    return (
        f"The weights are those of epoch {best} of {epochs}, the best by {_TITLES[monitor]}{shown}; no "
        f"{kind} image had a part in the choice."
    )


def selection_problems(config: TrainConfig, data: TrainingData) -> Iterator[Problem]:
    """Yield what the validation split lacks for early stopping and for the best epoch."""
    if not (config.keeps_best or config.early_stopping):
        return
    if data.validation is None:
        what = "early stopping and the best epoch need a validation split, and the data has none"
        yield Problem(what=what, where="train", fix="hold images out: data.validation=0.1")
    elif config.monitor == "balanced_accuracy":
        counts = class_counts(data.validation.labels, data.class_names)
        empty = [name for name, count in zip(data.class_names, counts, strict=True) if not count]
        if empty:
            yield Problem(
                what="balanced accuracy is undefined: the validation split has no image of "
                f"{join_first(map(in_line, empty), 1)}",
                where="train.monitor",
                fix="hold out more images, or monitor the loss: train.monitor=loss",
            )


class BestWeights:
    """The weights of the best epoch so far.

    Args:
        net: Of the layers that are evaluated; with its initial weights.

    Attributes:
        epoch: Whose weights they are; 0 before the first one.
    """

    def __init__(self, net: nn.Module) -> None:
        self.layout, self.epoch = Layout(net), 0
        self._tensors: dict[str, Tensor] = {}

    def keep(self, net: nn.Module, epoch: int) -> None:
        """Copy the weights after an epoch."""
        self.epoch = epoch
        self._tensors = {name: each.detach().clone() for name, each in self._state(net).items()}

    def copy_to(self, net: nn.Module) -> None:
        """Copy the weights to a net of these layers."""
        copy_tensors(_BEST, self._tensors, self._state(net))

    def net(self, template: nn.Module) -> nn.Module:
        """Return a copy of a net of these layers, with the weights."""
        net = copy_module(template)
        self.copy_to(net)
        return net

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights and their epoch, as `best`, if there are any."""
        if not self.epoch:
            return {}
        tensors = {f"{_NET}{name}": tensor for name, tensor in self._tensors.items()}
        return {_BEST: {**tensors, _EPOCH: torch.tensor(self.epoch)}}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]], net: nn.Module, expected: int) -> None:
        """Load the weights, and remove them from `state`.

        Args:
            state: Of a trainer.
            net: Of the layers that are evaluated.
            expected: The best epoch of the history, by the recipe.

        Raises:
            RunError: They are of another epoch: the recipe had another monitor, or kept the last epoch.
        """
        tensors = state.pop(_BEST, {})
        self.epoch = int(tensors.pop(_EPOCH, torch.tensor(0)))
        if self.epoch != expected:
            raise RunError(
                f"the weights of the best epoch so far, epoch {expected}, were not kept",
                where="state.safetensors",
                fix="set keep, monitor and early_stopping in recipe.toml back to what they were, or "
                'keep = "last"',
            )
        if self.epoch:
            saved = {name.removeprefix(_NET): tensor for name, tensor in tensors.items()}
            self._tensors = {name: each.detach().clone() for name, each in self._state(net).items()}
            copy_tensors(_BEST, saved, self._tensors)

    def _state(self, net: nn.Module) -> dict[str, Tensor]:
        return self.layout.select(state_of(net))
