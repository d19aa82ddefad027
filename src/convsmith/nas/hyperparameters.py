"""The numbers of a recipe that a search may change besides the net: of optimizer, loss and augmentation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from convsmith.data.dataset import DatasetInfo
from convsmith.recipes.schema import Recipe
from convsmith.training.optimizers.muon import Muon

# The size of a step, as a share of the range; smaller steps would drown in the noise of the accuracies.
_MIN_STEP, _STEP = 0.05, 0.12


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """A number of a recipe and its range.

    Attributes:
        key: As in `convsmith train RECIPE key=value`.
        start: Its value in the starting recipe.
        low: The smallest value.
        high: The largest value.
        log: Whether steps are taken on a logarithmic scale.
        integer: Whether it is an integer.
    """

    key: str
    start: float
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def perturb(self, value: float, random: Random) -> float:
        """Draw a value near another one, within the range, rounded to three digits."""
        low, high, center = map(self._scale, (self.low, self.high, value))
        step = random.choice((-1, 1)) * (_MIN_STEP + abs(random.gauss(0, _STEP)))
        drawn = min(max(center + step * (high - low), low), high)
        result = math.exp(drawn) if self.log else drawn
        result = float(round(result)) if self.integer else float(f"{result:.3g}")
        return min(max(result, self.low), self.high)

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


def hyperparameters_of(recipe: Recipe, info: DatasetInfo) -> tuple[Hyperparameter, ...]:
    r"""Return the hyperparameters that a recipe uses; a search does not switch on others.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> info = DatasetInfo(image_shape=(1, 8, 8), num_classes=10)
        >>> print(*(each.key for each in hyperparameters_of(load("digits"), info)), sep="\n")
        train.optimizer.lr
        train.optimizer.weight_decay
        train.label_smoothing
        augment.transforms.0.p
    """
    return tuple(_hyperparameters(recipe, info))


def _hyperparameters(recipe: Recipe, info: DatasetInfo) -> Iterator[Hyperparameter]:
    train = recipe.train
    yield from _of_optimizer("train.optimizer", train.optimizer)
    if isinstance(train.optimizer, Muon):
        yield from _of_optimizer("train.optimizer.rest", train.optimizer.rest)
    smoothing = train.label_smoothing
    yield Hyperparameter(key="train.label_smoothing", start=smoothing, low=0.0, high=max(0.2, smoothing))
    if (progressive := train.progressive) is not None:
        side = info.image_shape[1]
        smallest = min(max(4, side // 2), progressive.start_size)
        yield Hyperparameter(
            key="train.progressive.until", start=progressive.until, low=0.0, high=max(0.8, progressive.until)
        )
        yield Hyperparameter(
            key="train.progressive.start_size",
            start=progressive.start_size,
            low=smallest,
            high=max(side - 1, progressive.start_size),
            integer=True,
        )
    if recipe.notation.dropout:
        dropout = recipe.notation.dropout
        yield Hyperparameter(key="model.dropout", start=dropout, low=0.0, high=max(0.3, dropout))
    for index, transform in enumerate(recipe.augment.transforms):
        if not transform.alternates:
            # A brief may require the transform, so its probability stays above 0.
            low = min(0.05, transform.p)
            yield Hyperparameter(key=f"augment.transforms.{index}.p", start=transform.p, low=low, high=1.0)
    if recipe.augment.mix is not None:
        yield Hyperparameter(key="augment.mix.p", start=recipe.augment.mix.p, low=0.0, high=1.0)


def _of_optimizer(key: str, optimizer: Any) -> Iterator[Hyperparameter]:
    lr, decay = optimizer.lr, optimizer.weight_decay
    yield Hyperparameter(key=f"{key}.lr", start=lr, low=lr / 4, high=lr * 4, log=True)
    if decay:
        high = max(decay, min(10 * decay, 0.5))
        yield Hyperparameter(key=f"{key}.weight_decay", start=decay, low=decay / 10, high=high, log=True)
