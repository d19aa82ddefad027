"""The marginal effect of each field of a grid: its values, averaged over all values of the other fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

from convsmith.evaluation.comparison import Spread, spread

_RESAMPLES = 9_999


@dataclass(frozen=True, kw_only=True)
class ValueEffect:
    """The runs with one value of a field.

    Attributes:
        value: As on the command line.
        spread: Of the accuracies of these runs.
        difference: From the mean of all blocks, in the blocks that have every value; None without any.
    """

    value: str
    spread: Spread
    difference: float | None


@dataclass(frozen=True, kw_only=True)
class FieldEffect:
    """What a field changes.

    Attributes:
        field: Its dotted name.
        values: Of each value that has runs, in the order of the axis.
        blocks: Sets of runs that differ in this field alone and have every value.
        p_value: Two-sided: the probability of differences at least this large if the field changed nothing;
            None with fewer than two blocks. Not corrected for the number of fields.
    """

    field: str
    values: tuple[ValueEffect, ...]
    blocks: int
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class FieldEffects:
    """The effects of all fields of a grid on one metric.

    Attributes:
        is_of_test: Whether accuracies are those of the evaluated images, as there are no validation images.
        fields: In the order of the grid.
    """

    is_of_test: bool
    fields: tuple[FieldEffect, ...]

    @property
    def metric(self) -> str:
        """The name of the accuracy."""
        return "accuracy" if self.is_of_test else "validation accuracy"


def field_effects(runs: Sequence[tuple[Mapping[str, str], float]]) -> tuple[FieldEffect, ...]:
    """Return the effect of each field that has several values.

    The test permutes the values within each block of runs that have all other fields in common (Fisher's
    randomisation test for blocks); the statistic is the variance of the values' means. All permutations are
    tried if there are at most 9,999, otherwise as many drawn from a fixed seed.

    Args:
        runs: The fields of each run, and its accuracy.

    Example:
        >>> accuracies = {"0.1": 0.95, "1": 0.9}
        >>> runs = [({"lr": lr, "seed": str(s)}, accuracies[lr]) for lr in accuracies for s in range(4)]
        >>> effect = field_effects(runs)[0]
        >>> effect.field, effect.blocks, effect.p_value
        ('lr', 4, 0.125)
    """
    fields = list(runs[0][0]) if runs else []
    effects = (_effect(field, runs) for field in fields)
    return tuple(effect for effect in effects if len(effect.values) > 1)


def _effect(field: str, runs: Sequence[tuple[Mapping[str, str], float]]) -> FieldEffect:
    values = list(dict.fromkeys(fields[field] for fields, _ in runs))
    blocks: dict[tuple[str, ...], dict[str, float]] = {}
    for fields, accuracy in runs:
        others = tuple(value for name, value in fields.items() if name != field)
        blocks.setdefault(others, {})[fields[field]] = accuracy
    whole = [block for block in blocks.values() if len(block) == len(values)]
    table = np.array([[block[value] for value in values] for block in whole]).reshape(len(whole), len(values))
    means = (table - table.mean(axis=1, keepdims=True)).mean(axis=0) if whole else None
    return FieldEffect(
        field=field,
        values=tuple(
            ValueEffect(
                value=value,
                spread=spread([accuracy for fields, accuracy in runs if fields[field] == value]),
                difference=None if means is None else float(means[number]),
            )
            for number, value in enumerate(values)
        ),
        blocks=len(whole),
        p_value=_p_value(table) if len(whole) > 1 and len(values) > 1 else None,
    )


def _p_value(table: NDArray[np.float64]) -> float:
    """Return the p-value of differences between columns, rows being blocks."""

    def variance(*columns: Any, axis: int) -> Any:
        # Rounded: equal statistics in another order of the sums are equal.
        return np.var([np.mean(each, axis=axis) for each in columns], axis=0).round(15)

    result = permutation_test(
        tuple(table.T),
        variance,
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
