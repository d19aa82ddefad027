"""What is assumed about weights that were trained elsewhere, checked by their accuracy.

A file of weights holds neither the normalisation of its images nor the order of its classes. A wrong guess is
silent, so some training images are classified under other assumptions too. Test images choose nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.text import in_line, percent
from convsmith.training.metrics import compute_logits

# Another normalisation is named only if it could not be so much better by chance.
_SIGNIFICANT = 1e-3
# Another order of the classes is named if it makes so many more of the images correct, as a share, and if the
# accuracy is then so far on the way from guessing to 1: the best order suits an untrained net too.
_BETTER_ORDER, _GOOD_ORDER = 0.1, 0.5
_MAX_ORDERED, _MAX_LISTED = 1000, 3


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """A usual normalisation of pixels scaled to 0..1, one number for each channel."""

    title: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


_ANY = (
    Normalization(title="pixels from -1 to 1", mean=(0.5,), std=(0.5,)),
    Normalization(title="pixels from 0 to 1", mean=(0.0,), std=(1.0,)),
    Normalization(title="pixels from 0 to 255", mean=(0.0,), std=(1 / 255,)),
)
_COLOUR = (
    Normalization(title="that of ImageNet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Normalization(
        title="one that is common for CIFAR-10", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
    ),
)


def usual_normalizations(channels: int) -> tuple[Normalization, ...]:
    """Return the usual normalisations of images with so many channels.

    >>> [each.mean for each in usual_normalizations(1)]
    [(0.5,), (0.0,), (0.0,)]
    """
    repeated = [replace(each, mean=each.mean * channels, std=each.std * channels) for each in _ANY]
    return (*repeated, *(_COLOUR if channels == 3 else ()))


def is_near_chance(accuracy: float, num_classes: int) -> bool:
    """Whether an accuracy is near that of guessing: below twice that, or 10 points above it for few classes.

    >>> is_near_chance(0.19, 10), is_near_chance(0.21, 10), is_near_chance(0.65, 2)
    (True, False, False)
    """
    return accuracy < min(2 / num_classes, 1 / num_classes + 0.1)


def chance_note(accuracy: float, num_classes: int) -> str:
    """Return what to check if an accuracy is near chance; else nothing."""
    if not is_near_chance(accuracy, num_classes):
        return ""
    return (
        f"warning: an accuracy of {percent(accuracy)} is near chance for {num_classes} classes; check the "
        "data, its mean and standard deviation (data.mean, data.std), the order of the channels (red, green, "
        "blue) and of the classes, and the meaning of the outputs (model.outputs)"
    )


@dataclass(frozen=True, kw_only=True)
class BetterInput:
    """Another assumption about images, under which significantly more are classified correctly.

    Attributes:
        normalization: None for the channels in reversed order.
        own: The images that are correct under the assumption in use.
        correct: Those under this one.
    """

    normalization: Normalization | None
    own: int
    correct: int


def better_input(
    net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype
) -> BetterInput | None:
    """Classify images under other usual normalisations, and with the channels reversed.

    Args:
        net: With its weights, on the device.
        split: Some training images.
        normalize: The normalisation in use.
        dtype: Of the forward pass.

    Returns:
        The best assumption if it is significantly better than the one in use.
    """
    labels = torch.from_numpy(split.labels)
    own = compute_logits(net, split, normalize, dtype).argmax(1) == labels
    if bool(own.all()):
        return None
    channels = len(normalize.mean.flatten())
    attempts: list[tuple[Tensor, Normalization | None]] = []
    for each in usual_normalizations(channels):
        logits = compute_logits(net, split, Normalizer.of(each, normalize.device), dtype)
        attempts.append((logits.argmax(1) == labels, each))
    if channels == 3:
        reversed_split = replace(split, images=np.ascontiguousarray(np.asarray(split.images)[..., ::-1]))
        flipped = Normalizer(mean=normalize.mean.flip(1), std=normalize.std.flip(1))
        logits = compute_logits(net, reversed_split, flipped, dtype)
        attempts.append((logits.argmax(1) == labels, None))
    correct, best = max(attempts, key=lambda attempt: int(attempt[0].sum()))
    if not _is_better(own, correct):
        return None
    return BetterInput(normalization=best, own=int(own.sum()), correct=int(correct.sum()))


def input_note(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> str:
    """Classify images under other usual normalisations, and with the channels reversed.

    Args:
        net: With its weights, on the device.
        split: Some training images.
        normalize: The normalisation in use.
        dtype: Of the forward pass.

    Returns:
        A note on the best one if it is significantly better than the one in use; else nothing.
    """
    better = better_input(net, split, normalize, dtype)
    if better is None:
        return ""
    best = better.normalization
    counts = (
        f"warning: of {len(split):,} training images {better.own:,} are classified correctly, and "
        f"{better.correct:,} would be with"
    )
    if best is None:
        return (
            f"{counts} the channels in the order blue, green, red, in which OpenCV reads images; if the "
            "weights were trained so, begin forward with x = x.flip(1)"
        )
    mean, std = (f"[{','.join(f'{value:.6g}' for value in values)}]" for values in (best.mean, best.std))
    return f"{counts} {best.title}; if the weights were trained so, add data.mean={mean} data.std={std}"


def _is_better(own: Tensor, other: Tensor) -> bool:
    """Whether another assumption is significantly better, by McNemar's exact test, one-sided."""
    gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
    if not gained:
        return False
    from scipy.stats import binomtest  # slow to import

    return float(binomtest(gained, gained + lost, alternative="greater").pvalue) < _SIGNIFICANT


def order_note(logits: Tensor, labels: NDArray[np.int64], names: Sequence[str]) -> str:
    """Return a note if another order of the classes would make many more of the images correct; else nothing.

    Args:
        logits: `(N, num_classes)`.
        labels: `(N,)`.
        names: Of the classes, in the order of the labels.

    Example:
        >>> labels = np.array([0, 1, 2] * 10)
        >>> logits = torch.eye(3)[torch.from_numpy((labels + 1) % 3)]
        >>> order_note(logits, labels, ["a", "b", "c"])[:68]
        'warning: with the classes in another order 100.00 % of 30 training i'
    """
    count = len(names)
    if count > _MAX_ORDERED:
        return ""
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels, logits.argmax(1).numpy()), 1)
    from scipy.optimize import linear_sum_assignment  # slow to import

    rows, columns = linear_sum_assignment(confusion, maximize=True)
    now, best = int(np.trace(confusion)), int(confusion[rows, columns].sum())
    moved = [(int(column), int(row)) for row, column in zip(rows, columns, strict=True) if row != column]
    good = (best / len(labels) - 1 / count) / (1 - 1 / count) >= _GOOD_ORDER
    if best - now < _BETTER_ORDER * len(labels) or not good:
        return ""
    pairs = sorted(moved)[:_MAX_LISTED]
    listed = ", ".join(f"output {output} is {in_line(names[label])!r}" for output, label in pairs)
    more = ", ..." if len(moved) > _MAX_LISTED else ""
    return (
        f"warning: with the classes in another order {percent(best / len(labels))} of {len(labels):,} "
        f"training images would be correct, not {percent(now / len(labels))}: {listed}{more}"
    )
