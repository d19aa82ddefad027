"""The Pareto front of trials by accuracy, parameters and MACs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """A trial at its last rung.

    Attributes:
        number: Of the trial; 0 is the starting point.
        epochs: After which the accuracy was measured.
        correct: Number of held-out images that were classified correctly.
        total: Number of held-out images.
        parameters: Of the net.
        macs: Multiply-accumulates per image.
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

    def dominates(self, other: "ParetoPoint") -> bool:
        """Return whether it is as good in every objective and better in one; of equals, the first wins."""
        own, others = ((each.correct, -each.parameters, -each.macs) for each in (self, other))
        if own == others:
            return self.number < other.number
        return all(a >= b for a, b in zip(own, others, strict=True))


def pareto_front(points: Sequence[ParetoPoint]) -> tuple[ParetoPoint, ...]:
    """Return the points that no other point dominates, sorted by parameters.

    Args:
        points: Trained for equally many epochs and evaluated on the same images.

    >>> points = [ParetoPoint(number=n, epochs=1, correct=c, total=100, parameters=p, macs=p)
    ...           for n, c, p in ((0, 70, 50), (1, 80, 60), (2, 75, 65), (3, 60, 20))]
    >>> [point.number for point in pareto_front(points)]
    [3, 0, 1]
    """
    front = [point for point in points if not any(other.dominates(point) for other in points)]
    return tuple(sorted(front, key=lambda point: (point.parameters, point.macs, point.number)))
