"""Batch size, number of epochs and learning rate of a first recipe."""

import math
from dataclasses import dataclass

from convsmith.training.lr_find import RangeTest

# Share of the budget for epochs; the rest is for the first and the last seconds of a training and its report.
_SHARE = 0.85
# Steps after which a net is nearly as good as with more, and epochs in any case.
_ENOUGH_STEPS, _FEWEST_EPOCHS, _ENOUGH_EPOCHS = 2_500, 8, 40
_MOST_STEPS, _MOST_EPOCHS = 8_000, 100
# A step that takes so many times longer than the processor works for it is slowed down by other programs.
_BUSY = 1.5
DEFAULT_RATE = 0.005
_LOWEST_RATE, _HIGHEST_RATE = 0.001, 0.02


def batch_size_of(images: int) -> int:
    """Return a batch size: a power of two from 16 to 128, about a thirtieth of the training images.

    >>> batch_size_of(100), batch_size_of(1_200), batch_size_of(60_000)
    (16, 32, 128)
    """
    return 1 << min(max(round(math.log2(max(images, 1) / 30)), 4), 7)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long an epoch takes.

    Attributes:
        steps: Steps of an epoch.
        step: Seconds of one step.
        evaluation: Seconds of the evaluation after an epoch.
        load: How many times longer a step took than the processor worked for it: above 1 where other
            programs use the processor.
    """

    steps: int
    step: float
    evaluation: float
    load: float = 1.0

    @property
    def is_busy(self) -> bool:
        """Whether other programs made the steps clearly slower."""
        return self.load > _BUSY

    @property
    def epoch(self) -> float:
        """Seconds of an epoch."""
        return self.steps * self.step + self.evaluation

    def affordable(self, seconds: float) -> int:
        """Return the number of epochs in a time budget in seconds, at least 1.

        >>> Pace(steps=100, step=0.05, evaluation=1.0).affordable(600)
        85
        """
        return max(int(_SHARE * seconds / self.epoch), 1)

    @property
    def enough(self) -> int:
        """Epochs that a net should have; a wider one that cannot have them is a bad choice."""
        return min(max(-(-_ENOUGH_STEPS // self.steps), _FEWEST_EPOCHS), _ENOUGH_EPOCHS)

    @property
    def most(self) -> int:
        """Epochs after which more are of no use."""
        return min(max(-(-_MOST_STEPS // self.steps), _ENOUGH_EPOCHS), _MOST_EPOCHS)

    def epochs(self, seconds: float) -> int:
        """Return the number of epochs for a time budget.

        >>> Pace(steps=19, step=0.01, evaluation=0.1).epochs(600)
        100
        """
        return min(self.affordable(seconds), self.most)


def learning_rate(test: RangeTest | None) -> float:
    """Return the highest learning rate of a one-cycle schedule with AdamW, to two digits, from a range test.

    A tenth of the rate with the lowest loss, or the rate of the steepest fall if that is higher: within 0.001
    to 0.02, where AdamW trains nets with batch norm. Without a test, 0.005.
    """
    if test is None or test.suggestion is None:
        return DEFAULT_RATE
    rate = max(test.best / 10, test.suggestion)
    return float(f"{min(max(rate, _LOWEST_RATE), _HIGHEST_RATE):.1e}")
