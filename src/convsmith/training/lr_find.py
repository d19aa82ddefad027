"""A learning-rate range test: train while the rate grows, and see where the loss falls and where it breaks.

Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import TrainingData
from convsmith.errors import DivergedError
from convsmith.system.rng import derive_seed, new_generator, own_random_state, seed_everything
from convsmith.training.batches import shuffled_batches
from convsmith.training.config import TrainConfig
from convsmith.training.distillation import Teacher
from convsmith.training.schedules.constant import Constant
from convsmith.training.trainer import Trainer

# How much of the smoothed loss the past makes up, and by how much it may rise above its least before the end.
SMOOTHING, BROKEN = 0.9, 3.0
# The first steps are too noisy to be believed.
_WARM = 10
_ORDER = 5


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What a range test saw.

    Attributes:
        rates: `(S,)`, the learning rate of each step, growing by a constant factor.
        losses: `(S,)`, the loss of each step's batch before the step, smoothed.
        suggestion: The rate at which the smoothed loss falls most steeply by the logarithm of the rate; None
            where it never falls.
        best: The rate of the least loss; beyond it training breaks soon.
        broke: Whether the loss rose out of bounds, which ended the test.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float | None
    best: float
    broke: bool


def range_test(
    net: nn.Module,
    data: TrainingData,
    config: TrainConfig,
    augment: AugmentConfig,
    *,
    seed: int,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    teacher: Teacher | None = None,
) -> RangeTest:
    """Train a net, which is spoiled by it, with a rate that grows from `low` to `high`.

    Args:
        net: From images `(N, C, H, W)` to logits.
        data: Its training images are used.
        config: The `[train]` table; its schedule, average of the weights, lookahead, smaller images and
            compiling are left out.
        augment: The `[augment]` table.
        seed: Of the order of the images, augmentation and dropout.
        low: The first rate, of the first optimiser; others keep their ratio to it.
        high: The last.
        steps: How many, at least 20.
        teacher: What the net learns from beside the labels.
    """
    plain = {"schedule": Constant(), "ema": 0.0, "lookahead": None, "progressive": None, "compile": False}
    trainer = Trainer(
        net,
        data,
        config.model_copy(update=plain),
        augment,
        seed=seed,
        teacher=teacher,
    )
    rates = np.geomspace(low, high, steps)
    with own_random_state(trainer.device):
        seed_everything(derive_seed(seed, 1))
        trainer.gradients.train()
        try:
            losses = _losses(trainer, rates, _batches(len(data.train), config.batch_size, seed))
        finally:
            trainer.close()
    return judged(rates, losses)


def judged(rates: NDArray[np.float64], losses: list[float]) -> RangeTest:
    """Smooth the losses of a range test and find the rates that matter.

    Args:
        rates: `(steps,)`, growing.
        losses: Of the first steps, at least one, as many as were made before the training broke.
    """
    smooth = smoothed(losses)
    broke = len(losses) < len(rates) or bool(smooth[-1] > BROKEN * smooth.min())
    tried = rates[: len(smooth)]
    best = int(smooth[_WARM:].argmin()) + _WARM if len(smooth) > _WARM else int(smooth.argmin())
    suggestion = None
    if best > _WARM:
        slopes = np.gradient(smooth, np.log(tried))[_WARM : best + 1]
        if slopes.min() < 0:
            suggestion = float(tried[_WARM + int(slopes.argmin())])
    return RangeTest(rates=tried, losses=smooth, suggestion=suggestion, best=float(tried[best]), broke=broke)


def smoothed(losses: list[float]) -> NDArray[np.float64]:
    """An exponential mean, corrected for its start.

    Example:
        >>> smoothed([2.0, 2.0, 1.0]).round(3).tolist()
        [2.0, 2.0, 1.631]
    """
    means, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**number))
    return np.array(means)


def _losses(trainer: Trainer, rates: NDArray[np.float64], batches: Iterator[Tensor]) -> list[float]:
    """The loss of each step, until it is not finite or far above its least."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    first = float(groups[0]["lr"])
    shares = [float(group["lr"]) / first for group in groups]
    losses: list[float] = []
    for index, rate in enumerate(rates):
        for group, share in zip(groups, shares, strict=True):
            group["lr"] = float(rate) * share
        try:
            loss, _ = trainer.read_step(trainer.train_step(trainer.make_batch(next(batches), 1, index)))
        except DivergedError:
            break
        losses.append(loss)
        means = smoothed(losses)
        if len(losses) > _WARM and means[-1] > BROKEN * means[_WARM:].min():
            break
    return losses


def _batches(num_images: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Batches without end, each pass over the images in an order of its own."""
    epoch = 0
    while True:
        epoch += 1
        yield from shuffled_batches(num_images, batch_size, new_generator(seed, epoch, _ORDER))
