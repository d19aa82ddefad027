"""Logits, features, loss and accuracy of a split."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.system import progress
from convsmith.system.device import autocast
from convsmith.system.memory import enough_memory
from convsmith.training.batch_sharing import BatchSharing
from convsmith.training.modes import eval_mode

EVALUATION_BATCH = 1000
# Larger features would make the saved predictions larger than the data set.
MAX_FEATURES = 2048
# Logits of which metrics are computed at once; with many classes, the images of a split take several blocks.
_BLOCK_VALUES = 2**24


@dataclass(frozen=True, kw_only=True)
class SplitMetrics:
    """Metrics of a split: mean cross-entropy in nats, and number of correctly classified images.

    `balanced_accuracy` is the mean recall of the classes; None if a class has no image, during training, and
    in runs of older versions.
    """

    loss: float
    correct: int
    total: int
    balanced_accuracy: float | None = None

    @property
    def accuracy(self) -> float:
        """Accuracy from 0 to 1."""
        return self.correct / self.total

    def line(self, name: str) -> str:
        """Format the metrics of a set of images like a classic PyTorch training log.

        >>> SplitMetrics(loss=0.48114, correct=8379, total=10000).line("Test set")
        'Test set: Average loss: 0.4811, Accuracy: 8379/10000 (83.79%)'
        """
        return (
            f"{name}: Average loss: {self.loss:.4f}, "
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
        clipped: Share of the steps whose gradient was clipped; None without clipping.
    """

    epoch: int
    lr: float
    train: SplitMetrics
    validation: SplitMetrics | None
    test: SplitMetrics | None
    train_seconds: float
    evaluation_seconds: float
    clipped: float | None = None

    @property
    def seconds(self) -> float:
        """Duration of the epoch, training and evaluation."""
        return self.train_seconds + self.evaluation_seconds


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Logits `(N, num_classes)` float32 and features `(N, F)` float16, on the CPU.

    Features are the inputs of the last convolution or linear layer that runs, averaged over positions; None
    without such a layer, or if F is above 2,048.
    """

    logits: Tensor
    features: Tensor | None


def compute_outputs(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> Outputs:
    """Compute logits and features of a split. Hooks and training mode of the net are restored."""
    parts: list[Tensor] = []
    last: list[tuple[nn.Module, Tensor]] = []

    def see(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs:
            last[:] = [(layer, inputs[0])]

    def keep(_: nn.Module, __: Any, outputs: Tensor) -> None:
        features = _features(*last.pop()) if last else None
        if features is not None and len(features) == len(outputs) and features.shape[1] <= MAX_FEATURES:
            # The largest float16 value, which an untrained net may exceed.
            parts.append(features.clamp(-65504, 65504).half().cpu())

    weighted = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [module.register_forward_pre_hook(see) for module in weighted]
    handles.append(net.register_forward_hook(keep))
    try:
        logits = compute_logits(net, split, normalize, dtype)
    finally:
        for handle in handles:
            handle.remove()
    complete = sum(map(len, parts)) == len(split)
    return Outputs(logits=logits, features=torch.cat(parts) if complete else None)


def _features(layer: nn.Module, inputs: Tensor) -> Tensor | None:
    """Return the inputs of a layer `(N, F)`, averaged over positions; None if they have no batch."""
    if inputs.dim() < 2:
        return None
    positions = (
        tuple(range(2, inputs.dim())) if isinstance(layer, nn.Conv2d) else tuple(range(1, inputs.dim() - 1))
    )
    features = inputs.float()
    return features.mean(positions) if positions else features


def compute_logits(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> Tensor:
    """Compute the logits `(N, num_classes)` float32, on the CPU. The training mode of the net is restored."""
    logits, done = torch.empty(0), 0
    for batch in _batches_of_logits(net, split, normalize, dtype):
        if not done:
            # Allocated once: with thousands of classes, joining the batches would take the same memory again.
            logits = batch.new_empty((len(split), batch.shape[1]))
        logits[done : done + len(batch)] = batch
        done += len(batch)
        progress.report("Evaluating images", done, len(split))
    return logits


def _batches_of_logits(
    net: nn.Module,
    split: Split,
    normalize: Normalizer,
    dtype: torch.dtype,
    sharing: BatchSharing | None = None,
) -> Iterator[Tensor]:
    device, count = normalize.mean.device, len(split)
    starts = range(0, count, EVALUATION_BATCH)

    @torch.inference_mode()
    def compute(net: nn.Module, index: int) -> Tensor:
        batch = split.images[starts[index] : starts[index] + EVALUATION_BATCH]
        (images,) = normalized_batches(batch, normalize, EVALUATION_BATCH)
        with enough_memory("evaluation", device), autocast(device, dtype):
            # PyTorch computes a batch of one by other routines, which round differently; and a net may
            # drop its dimension, as by `x.squeeze()`.
            pair = images.expand(2, -1, -1, -1) if len(images) == 1 else images
            logits: Tensor = net(pair).float().cpu()[: len(images)]
        return logits

    with eval_mode(net):
        if sharing is None:
            yield from (compute(net, index) for index in range(len(starts)))
        else:
            sizes = [min(EVALUATION_BATCH, count - start) for start in starts]
            yield from sharing.map(net, compute, sizes)


def split_metrics(logits: Tensor, labels: Tensor) -> SplitMetrics:
    """Compute the metrics of logits `(N, num_classes)` for labels `(N,)`.

    Example:
        >>> split_metrics(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        SplitMetrics(loss=1.126928..., correct=1, total=2, balanced_accuracy=0.5)
    """
    rows = max(_BLOCK_VALUES // logits.shape[1], 1)
    blocks = zip(torch.split(logits, rows), torch.split(labels, rows), strict=True)
    return _sum_metrics([_BlockMetrics.of(*block) for block in blocks])


@dataclass(frozen=True)
class _BlockMetrics:
    """Mean loss, and the correct predictions and the images of each class, of some images."""

    loss: float
    correct: Tensor
    total: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "_BlockMetrics":
        # In double precision, so that the displayed digits of the mean are exact.
        loss = functional.cross_entropy(logits.double(), labels).item()
        right = labels[logits.argmax(1) == labels]
        correct, total = (torch.bincount(each, minlength=logits.shape[1]) for each in (right, labels))
        return cls(loss, correct, total)

    def __len__(self) -> int:
        return int(self.total.sum())


def _sum_metrics(parts: Sequence[_BlockMetrics]) -> SplitMetrics:
    count = sum(map(len, parts))
    loss = parts[0].loss if len(parts) == 1 else sum(part.loss * len(part) for part in parts) / count
    correct = torch.stack([part.correct for part in parts]).sum(0)
    total = torch.stack([part.total for part in parts]).sum(0)
    recall = (correct.double() / total).mean().item() if bool((total > 0).all()) else None
    return SplitMetrics(loss=loss, correct=int(correct.sum()), total=count, balanced_accuracy=recall)


def evaluate_split(
    net: nn.Module,
    split: Split,
    normalize: Normalizer,
    dtype: torch.dtype,
    sharing: BatchSharing | None = None,
) -> SplitMetrics:
    """Compute the metrics of a net on a split, without holding the logits of all images at once.

    Args:
        net: From images `(N, C, H, W)` to logits `(N, num_classes)`.
        split: The images and labels.
        normalize: Normalises the images.
        dtype: Data type of the forward pass.
        sharing: How batches are shared out over cores and processes; None computes them one after another,
            each on all cores.
    """
    return metrics_of_batches(_batches_of_logits(net, split, normalize, dtype, sharing), split.labels)


def metrics_of_batches(batches: Iterable[Tensor], labels_N: NDArray[np.int64]) -> SplitMetrics:  # noqa: N803 - shape suffix
    """Compute the metrics of logits that come in batches `(B, num_classes)`, without holding all at once.

    Args:
        batches: In the order of the labels.
        labels_N: `(N,)`.

    Example:
        >>> metrics_of_batches([torch.eye(2), torch.eye(2)], np.array([0, 1, 0, 0])).correct
        3
    """
    labels = torch.from_numpy(labels_N)
    parts: list[_BlockMetrics] = []
    block: list[Tensor] = []
    done = 0
    for batch in batches:
        block.append(batch)
        count = sum(map(len, block))
        if done + count == len(labels) or (count + len(batch)) * batch.shape[1] > _BLOCK_VALUES:
            parts.append(_BlockMetrics.of(torch.cat(block), labels[done : done + count]))
            done += count
            block = []
    return _sum_metrics(parts)
