"""Asynchronous successive halving: how long a candidate is trained depends on its rank so far.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934. A trial waits at a rung
until it is among the best there; then its training resumes from its checkpoint. No trial is stopped for good:
it is promoted as soon as enough others are worse.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

# Accuracies of each trial, by epoch.
Accuracies = Mapping[int, Mapping[int, float]]


def compute_rungs(epochs: int, factor: int) -> tuple[int, ...]:
    """Return the numbers of epochs after which trials are compared, up to the last.

    Args:
        epochs: Of a complete training.
        factor: Ratio of successive rungs; 1/factor of the trials is promoted.

    >>> compute_rungs(9, 3), compute_rungs(5, 3), compute_rungs(1, 3)
    ((1, 3, 9), (2, 5), (1,))
    """
    rungs, rung = [epochs], epochs / factor
    while rung >= 1 and round(rung) < rungs[0]:
        rungs.insert(0, round(rung))
        rung /= factor
    return tuple(rungs)


def promotable(
    accuracies: Accuracies, rungs: Sequence[int], factor: int, *, always: int = 0
) -> list[tuple[int, int]]:
    """Return the trials that may be promoted, with their next rung: highest rung first, then best first.

    Args:
        accuracies: Of the trials that are unfinished or complete.
        rungs: From `compute_rungs`.
        factor: The best 1/factor of a rung is promoted, and at least one trial.
        always: The trial that is always promoted: the baseline.

    >>> promotable({1: {1: 0.5}, 2: {1: 0.7, 3: 0.8}, 3: {1: 0.6}, 4: {1: 0.4}}, (1, 3), factor=2)
    [(3, 3)]
    """
    promotions = []
    for rung, next_rung in reversed(list(pairwise(rungs))):
        ranked = sorted(
            (number for number in accuracies if rung in accuracies[number]),
            key=lambda number: (-accuracies[number][rung], number),
        )
        best = ranked[: max(1, len(ranked) // factor)]
        chosen = [number for number in ranked if number == always or number in best]
        promotions += [(number, next_rung) for number in chosen if next_rung not in accuracies[number]]
    return promotions
