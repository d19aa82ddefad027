"""Learning-rate range test: train with a growing learning rate and record the loss.

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
from convsmith.modules.behaviour import PLAIN, Behaviour
from convsmith.system.progress import track
from convsmith.system.rng import derive_seed, new_generator, own_random_state, seed_everything
from convsmith.training.config import TrainConfig
from convsmith.training.distillation import Teacher
from convsmith.training.sampling import Sampler
from convsmith.training.schedules.constant import Constant
from convsmith.training.trainer import Trainer

# Decay of the smoothed loss, and the ratio to its minimum above which the training has diverged.
SMOOTHING, DIVERGED = 0.9, 3.0
# The loss of the first steps is too noisy to be used.
_NUM_NOISY_STEPS = 10
# Key of the random stream for the order of the images.
_ORDER = 5


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """Result of a range test.

    Attributes:
        rates: `(S,)`, the learning rate of each step, growing by a constant factor.
        losses: `(S,)`, the smoothed loss of each step.
        suggestion: Learning rate with the steepest descent of the smoothed loss over the logarithm of the
            rate; None if the loss never falls.
        best: Learning rate with the lowest loss. Training diverges soon above it.
        diverged: Whether the training diverged, which ends the test.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float | None
    best: float
    diverged: bool


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
    behaviour: Behaviour = PLAIN,
    teacher: Teacher | None = None,
) -> RangeTest:
    """Train a net with a learning rate that grows from `low` to `high`. The weights are of no use afterwards.

    Args:
        net: From images `(N, C, H, W)` to logits `(N, num_classes)`.
        data: Training images.
        config: The `[train]` table; schedule, averaged weights, lookahead, progressive resizing,
            compilation, early stopping and the best epoch are ignored.
        augment: The `[augment]` table.
        seed: Seed of the order of the images, augmentation and dropout.
        low: First learning rate of the first optimizer; others keep their ratio to it, as layers
            with a factor do.
        high: Last learning rate.
        steps: Number of steps, at least 20.
        behaviour: See `convsmith.training.trainer.fit`.
        teacher: Teacher for knowledge distillation.
    """
    unused = dict.fromkeys(("lookahead", "progressive", "phases", "early_stopping"))
    ignored = {"schedule": Constant(), "ema": 0.0, "compile": False, "keep": "last", **unused}
    trainer = Trainer(
        net,
        data,
        config.model_copy(update=ignored),
        augment,
        seed=seed,
        behaviour=behaviour,
        teacher=teacher,
    )
    rates = np.geomspace(low, high, steps)
    with own_random_state(trainer.device):
        seed_everything(derive_seed(seed, 1))
        trainer.gradients.train()
        try:
            losses = _losses(trainer, rates, _batches(trainer.sampler, config.batch_size, seed))
        finally:
            trainer.close()
    return analyze_losses(rates, losses)


def analyze_losses(rates: NDArray[np.float64], losses: list[float]) -> RangeTest:
    """Smooth the losses of a range test and derive the learning rates.

    Args:
        rates: `(steps,)`, growing.
        losses: Loss of each step until the training diverged, at least one.
    """
    smooth = smooth_losses(losses)
    diverged = len(losses) < len(rates) or bool(smooth[-1] > DIVERGED * smooth.min())
    used = rates[: len(smooth)]
    best = (
        int(smooth[_NUM_NOISY_STEPS:].argmin()) + _NUM_NOISY_STEPS
        if len(smooth) > _NUM_NOISY_STEPS
        else int(smooth.argmin())
    )
    suggestion = None
    if best > _NUM_NOISY_STEPS:
        slopes = np.gradient(smooth, np.log(used))[_NUM_NOISY_STEPS : best + 1]
        if slopes.min() < 0:
            suggestion = float(used[_NUM_NOISY_STEPS + int(slopes.argmin())])
    return RangeTest(
        rates=used, losses=smooth, suggestion=suggestion, best=float(used[best]), diverged=diverged
    )


def smooth_losses(losses: list[float]) -> NDArray[np.float64]:
    """Return the exponential moving average, corrected for its initial bias.

    Example:
        >>> smooth_losses([2.0, 2.0, 1.0]).round(3).tolist()
        [2.0, 2.0, 1.631]
    """
    means, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**number))
    return np.array(means)


def _losses(trainer: Trainer, rates: NDArray[np.float64], batches: Iterator[Tensor]) -> list[float]:
    """Return the loss of each step until the training diverges."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    first = trainer.schedule.lr
    shares = [float(group["lr"]) / first for group in groups]
    losses: list[float] = []
    for index, rate in enumerate(track(rates, "Range test, steps", len(rates))):
        for group, share in zip(groups, shares, strict=True):
            group["lr"] = float(rate) * share
        try:
            loss, *_ = trainer.read_step(trainer.train_step(trainer.make_batch(next(batches), 1, index)))
        except DivergedError:
            break
        losses.append(loss)
        means = smooth_losses(losses)
        if len(losses) > _NUM_NOISY_STEPS and means[-1] > DIVERGED * means[_NUM_NOISY_STEPS:].min():
            break
    return losses


def _batches(sampler: Sampler, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches endlessly, in a new order for each epoch."""
    epoch = 0
    while True:
        epoch += 1
        yield from sampler.batches(batch_size, new_generator(seed, epoch, _ORDER))
