"""The fields of a recipe that a search may change beside its net: of the optimiser, the loss, the images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from convsmith.data.dataset import Outline
from convsmith.recipes.schema import Recipe
from convsmith.training.optimizers.muon import Muon

# How far a value goes at once, as shares of its range: less would drown in the noise of scores.
_LEAST_STEP, _STEP = 0.05, 0.12


@dataclass(frozen=True, kw_only=True)
class Field:
    """A number of a recipe.

    Attributes:
        key: As in `convsmith train RECIPE key=value`.
        start: In the starting recipe.
        low: The least that is tried.
        high: The most.
        log: Its logarithm is drawn evenly.
        whole: It is an integer.
    """

    key: str
    start: float
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def moved(self, value: float, random: Random) -> float:
        """A value near another one, within the range, to three digits."""
        low, high, at = map(self._scale, (self.low, self.high, value))
        step = random.choice((-1, 1)) * (_LEAST_STEP + abs(random.gauss(0, _STEP)))
        drawn = min(max(at + step * (high - low), low), high)
        moved = math.exp(drawn) if self.log else drawn
        moved = float(round(moved)) if self.whole else float(f"{moved:.3g}")
        return min(max(moved, self.low), self.high)

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


def fields_of(recipe: Recipe, outline: Outline) -> tuple[Field, ...]:
    """The fields that a search around a recipe changes; what it does not use stays unused.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> outline = Outline(image_shape=(1, 8, 8), num_classes=10)
        >>> [field.key for field in fields_of(load("digits"), outline)]  # doctest: +NORMALIZE_WHITESPACE
        ['train.optimizer.lr', 'train.optimizer.weight_decay', 'train.label_smoothing',
         'augment.transforms.0.p']
    """
    return tuple(_fields(recipe, outline))


def _fields(recipe: Recipe, outline: Outline) -> Iterator[Field]:
    train = recipe.train
    yield from _optimizer_fields("train.optimizer", train.optimizer)
    if isinstance(train.optimizer, Muon):
        yield from _optimizer_fields("train.optimizer.rest", train.optimizer.rest)
    smoothing = train.label_smoothing
    yield Field(key="train.label_smoothing", start=smoothing, low=0.0, high=max(0.2, smoothing))
    if (progressive := train.progressive) is not None:
        side = outline.image_shape[1]
        least = min(max(4, side // 2), progressive.start_size)
        yield Field(
            key="train.progressive.until", start=progressive.until, low=0.0, high=max(0.8, progressive.until)
        )
        yield Field(
            key="train.progressive.start_size",
            start=progressive.start_size,
            low=least,
            high=max(side - 1, progressive.start_size),
            whole=True,
        )
    if recipe.model.dropout:
        dropout = recipe.model.dropout
        yield Field(key="model.dropout", start=dropout, low=0.0, high=max(0.3, dropout))
    for index, transform in enumerate(recipe.augment.transforms):
        if not transform.alternates:
            # A brief asks for the transform, so that none is switched off.
            low = min(0.05, transform.p)
            yield Field(key=f"augment.transforms.{index}.p", start=transform.p, low=low, high=1.0)
    if recipe.augment.mix is not None:
        yield Field(key="augment.mix.p", start=recipe.augment.mix.p, low=0.0, high=1.0)


def _optimizer_fields(key: str, optimizer: Any) -> Iterator[Field]:
    lr, decay = optimizer.lr, optimizer.weight_decay
    yield Field(key=f"{key}.lr", start=lr, low=lr / 4, high=lr * 4, log=True)
    if decay:
        high = max(decay, min(10 * decay, 0.5))
        yield Field(key=f"{key}.weight_decay", start=decay, low=decay / 10, high=high, log=True)
