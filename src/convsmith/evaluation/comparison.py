"""What sets runs apart: recipes field by field, images that one gets right and another wrong, and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.stats import binomtest

from convsmith.evaluation.predictions import Indices, Predictions

# Fields that make no other recipe: runs that differ by these alone are of one group.
SEED = "seed"
_IGNORED = {"description", "result", "name"}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A number over the runs of a group; `deviation` is that of a sample, None for a single run."""

    count: int
    mean: float
    deviation: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which recipes differ, and its value in each; None where a recipe lacks it."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class PairTest:
    """Two runs on the same images.

    Attributes:
        only_first: Places of the images that the first alone gets right.
        only_second: Places of the images that the second alone gets right.
        p_value: How often a difference as large, or larger, comes of chance where both are equally good:
            McNemar's exact test, two-sided.
    """

    first: int
    second: int
    only_first: Indices
    only_second: Indices
    p_value: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of a number.

    Example:
        >>> spread([0.5, 0.7]).mean, spread([0.5]).deviation
        (0.6, None)
    """
    return Spread(
        count=len(values),
        mean=mean(values),
        deviation=stdev(values) if len(values) > 1 else None,
        low=min(values),
        high=max(values),
    )


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe's tables as one, with dotted names; items of a list are numbered.

    Example:
        >>> flattened({"train": {"epochs": 3}, "transforms": [{"name": "HorizontalFlip"}]})
        {'train.epochs': 3, 'transforms.0.name': 'HorizontalFlip'}
    """
    fields: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            fields |= flattened({str(number): item for number, item in enumerate(value)}, f"{name}.")
        elif isinstance(value, Mapping):
            fields |= flattened(value, f"{name}.")
        else:
            fields[name] = value
    return fields


def groups(recipes: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Which recipes are one but for their seed; places in the order of each group's first."""
    found: dict[str, list[int]] = {}
    for place, recipe in enumerate(recipes):
        fields = flattened(recipe)
        told = repr(sorted((k, repr(v)) for k, v in fields.items() if k != SEED and k not in _IGNORED))
        found.setdefault(f"{recipe.get('name')} {told}", []).append(place)
    return list(found.values())


def differences(recipes: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """The fields in which recipes differ, by name; what only describes is left out."""
    tables = [flattened(recipe) for recipe in recipes]
    names = sorted({name for table in tables for name in table} - _IGNORED)
    found = []
    for name in names:
        values = tuple(table.get(name) for table in tables)
        if any(value != values[0] or type(value) is not type(values[0]) for value in values[1:]):
            found.append(Difference(field=name, values=values))
    return tuple(found)


def pair_test(first: int, second: int, runs: Sequence[Predictions]) -> PairTest | None:
    """Compare two runs image by image (McNemar 1947).

    Args:
        first: A place in `runs`.
        second: Another.
        runs: Predictions, each for its test set.

    Returns:
        None where they are not known to be for the same images in the same order.

    Example:
        >>> ids, labels = np.array([b"a", b"b"]), np.array([0, 0])
        >>> right = Predictions(logits=np.eye(2, dtype=np.float32)[[0, 0]], labels=labels, ids=ids)
        >>> wrong = Predictions(logits=np.eye(2, dtype=np.float32)[[1, 1]], labels=labels, ids=ids)
        >>> pair_test(0, 1, [right, wrong]).p_value
        0.5
    """
    one, other = runs[first], runs[second]
    if one.ids is None or other.ids is None or not np.array_equal(one.ids, other.ids):
        return None
    if not np.array_equal(one.labels, other.labels):
        return None
    only_first = np.flatnonzero(~one.wrong & other.wrong)
    only_second = np.flatnonzero(one.wrong & ~other.wrong)
    differing = len(only_first) + len(only_second)
    p_value = float(binomtest(len(only_first), differing, 0.5).pvalue) if differing else 1.0
    return PairTest(
        first=first, second=second, only_first=only_first, only_second=only_second, p_value=p_value
    )
