"""Asynchronous successive halving: how long a candidate is trained depends on how it compares so far.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934. A trial waits at a rung
until it is among the best of those that came as far; then it goes on from its saved state. No trial is given
up: one that waits goes on as soon as enough others turn out worse.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

Scores = Mapping[int, Mapping[int, float]]


def rungs_of(epochs: int, factor: int) -> tuple[int, ...]:
    """After how many epochs trials are compared, up to the last.

    Args:
        epochs: Of a whole training.
        factor: Between rungs, and how many of the trials at a rung one goes on for.

    >>> rungs_of(9, 3), rungs_of(5, 3), rungs_of(1, 3)
    ((1, 3, 9), (2, 5), (1,))
    """
    found, at = [epochs], epochs / factor
    while at >= 1 and round(at) < found[0]:
        found.insert(0, round(at))
        at /= factor
    return tuple(found)


def promotable(
    scores: Scores, rungs: Sequence[int], factor: int, *, always: int = 0
) -> list[tuple[int, int]]:
    """Which trials may go on, and to which rung: those nearest to the end first, the better before the worse.

    Args:
        scores: Of each trial that may still go on or has come to its end, by epoch.
        rungs: From `rungs_of`.
        factor: One in so many goes on, but the best of a rung always does.
        always: The trial that goes to the end however it does: what the others are compared with.

    >>> promotable({1: {1: 0.5}, 2: {1: 0.7, 3: 0.8}, 3: {1: 0.6}, 4: {1: 0.4}}, (1, 3), factor=2)
    [(3, 3)]
    """
    found = []
    for rung, following in reversed(list(pairwise(rungs))):
        there = sorted(
            (number for number in scores if rung in scores[number]),
            key=lambda number: (-scores[number][rung], number),
        )
        best = there[: max(1, len(there) // factor)]
        chosen = [number for number in there if number == always or number in best]
        found += [(number, following) for number in chosen if following not in scores[number]]
    return found
