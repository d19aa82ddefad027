"""The state of a training between two steps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsmith.errors import RunError
from convsmith.training.metrics import EpochMetrics


@dataclass(kw_only=True)
class Progress:
    """The position within the current epoch, and its metrics so far.

    Attributes:
        epoch: Counts from 1; one more than the last epoch when training is complete.
        step: Number of completed batches.
        lr: Learning rate at the start of the epoch.
        loss_sum: Sum of the losses of all images in these batches.
        correct: Number of correctly classified images.
        seen: Number of images.
        clipped: Number of batches whose gradient was clipped.
        seconds: Training time of the epoch up to the interruption.
    """

    epoch: int = 1
    step: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    clipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """Everything that a trainer needs to continue.

    Attributes:
        progress: Position within the current epoch.
        history: Metrics of the completed epochs. Schedules derive their state from it.
        num_batches: Batches per epoch.
        seconds: Training time so far.
        tensors: The tensors of each component by name: `net`, `average` and `lookahead` as in their state
            dicts, `part<i>` the norm statistics of the i-th microbatch, `optimizer<i>` with the keys
            `<parameter>/<name>`, `best` the weights of the best epoch with its number, `random` the states of
            PyTorch's global generators. They are the live tensors: copy what you keep.
    """

    progress: Progress
    history: tuple[EpochMetrics, ...]
    num_batches: int
    seconds: float
    tensors: dict[str, dict[str, Tensor]]


def copy_tensors(component: str, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy tensors into those of the same names.

    Args:
        component: Its name in the state, for the error.
        source: From the state.
        target: The component's own tensors; written in place.

    Raises:
        RunError: Names or shapes differ.
    """
    names = {*source} ^ {*target} or {name for name in target if source[name].shape != target[name].shape}
    if names:
        raise mismatch(f"{component}.{name}" for name in names)
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def mismatch(names: Iterable[str]) -> RunError:
    """Return the error for tensors that do not belong to the net and optimizer of the recipe."""
    return RunError(
        f"the saved state is of another net or optimiser: {', '.join(sorted(names)[:3])}",
        where="state.safetensors",
        fix="set model and optimizer in recipe.toml back to what they were, or train again",
    )
