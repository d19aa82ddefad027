"""Logits and features of a whole split, and the loss and accuracy that follow from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.system.device import autocast
from convsmith.system.memory import enough_memory

EVALUATION_BATCH = 1000
# Wider features would make the saved predictions larger than the data set.
MAX_FEATURES = 2048


@dataclass(frozen=True, kw_only=True)
class SplitMetrics:
    """Loss as the mean over samples of the cross-entropy, and how many samples are right."""

    loss: float
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.correct / self.total

    def line(self, name: str) -> str:
        """One line in the course's form.

        >>> SplitMetrics(loss=0.48114, correct=8379, total=10000).line("Test")
        'Test set: Average loss: 0.4811, Accuracy: 8379/10000 (83.79%)'
        """
        return (
            f"{name} set: Average loss: {self.loss:.4f}, "
            f"Accuracy: {self.correct}/{self.total} ({self.accuracy:.2%})"
        )


@dataclass(frozen=True, kw_only=True)
class BatchMetrics:
    """Metrics of a batch: its number within the epoch, its loss, and the accuracy of the epoch so far."""

    index: int
    loss: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """Metrics of an epoch.

    Attributes:
        epoch: Counts from 1.
        lr: Learning rate at the start of the epoch.
        train: Measured during training, with dropout and on augmented images.
        validation: Measured after the epoch, on images without augmentation, with averaged weights if the
            weights are averaged.
        test: Measured as `validation`.
        train_seconds: Duration of the training.
        evaluation_seconds: Duration of the evaluation.
    """

    epoch: int
    lr: float
    train: SplitMetrics
    validation: SplitMetrics | None
    test: SplitMetrics | None
    train_seconds: float
    evaluation_seconds: float


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Logits `(N, num_classes)` float32 and features `(N, F)` float16, both on the CPU.

    The features are the input of the last layer with weights, averaged over a map; None where F is more
    than 2,048.
    """

    logits: Tensor
    features: Tensor | None


def outputs_of(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> Outputs:
    """The logits and features of a whole split; net and hooks are put back as they were."""
    parts: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0].float()
        features = seen.mean((2, 3)) if seen.dim() == 4 else seen
        if features.shape[1] <= MAX_FEATURES:
            # The largest number that 16 bits hold; an untrained net may go beyond.
            parts.append(features.clamp(-65504, 65504).half().cpu())

    weighted = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handle = weighted[-1].register_forward_pre_hook(keep)
    try:
        logits = logits_of(net, split, normalize, dtype)
    finally:
        handle.remove()
    return Outputs(logits=logits, features=torch.cat(parts) if parts else None)


@torch.inference_mode()
def logits_of(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> Tensor:
    """The logits `(N, num_classes)` float32, on the CPU. The net's mode is put back as it was."""
    device = normalize.mean.device
    parts = []
    with evaluating(net):
        for images in normalized_batches(split.images, normalize, EVALUATION_BATCH):
            with enough_memory("evaluation", device), autocast(device, dtype):
                parts.append(net(images).float().cpu())
    return torch.cat(parts)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode, for the block; every module gets its own mode back."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def score_of(logits: Tensor, labels: Tensor) -> SplitMetrics:
    """Score logits `(N, num_classes)` against labels `(N,)`.

    Example:
        >>> score_of(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        SplitMetrics(loss=1.126928..., correct=1, total=2)
    """
    # In double precision, so that the mean of many samples is exact to the digits that are shown.
    loss = functional.cross_entropy(logits.double(), labels).item()
    correct = int((logits.argmax(1) == labels).sum())
    return SplitMetrics(loss=loss, correct=correct, total=len(labels))


def evaluate_split(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> SplitMetrics:
    return score_of(logits_of(net, split, normalize, dtype), torch.from_numpy(split.labels))
