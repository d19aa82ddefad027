"""What a search has found: trials as points, and those that no other beats in all that counts."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial as far as it came.

    Attributes:
        number: Of the trial; 0 is the starting point.
        epochs: After which its accuracy was measured.
        correct: Held-out images that were right then.
        total: How many there are.
        parameters: Of the net.
        macs: Multiply-accumulates for one image.
    """

    number: int
    epochs: int
    correct: int
    total: int
    parameters: int
    macs: int

    @property
    def accuracy(self) -> float:
        """On held-out training images, from 0 to 1."""
        return self.correct / self.total

    def beats(self, other: "Point") -> bool:
        """Whether it is at least as good in accuracy, parameters and MACs, and better in one, or earlier."""
        own, others = ((each.correct, -each.parameters, -each.macs) for each in (self, other))
        if own == others:
            return self.number < other.number
        return all(mine >= theirs for mine, theirs in zip(own, others, strict=True))


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats, from the fewest parameters to the most.

    Args:
        points: Trained for equally many epochs, and scored on the same images.

    >>> made = [Point(number=n, epochs=1, correct=c, total=100, parameters=p, macs=p)
    ...         for n, c, p in ((0, 70, 50), (1, 80, 60), (2, 75, 65), (3, 60, 20))]
    >>> [point.number for point in frontier(made)]
    [3, 0, 1]
    """
    kept = [point for point in points if not any(other.beats(point) for other in points)]
    return tuple(sorted(kept, key=lambda point: (point.parameters, point.macs, point.number)))
