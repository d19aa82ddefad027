"""Comparison of runs: groups of seeds, differences of recipes, and McNemar's test of two runs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.stats import binomtest

from convsmith.evaluation.predictions import Indices, Predictions

# Runs whose recipes differ only in these fields are one group.
SEED = "seed"
_IGNORED = {"description", "result", "name"}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The mean and the range of a number over runs; `deviation` is that of a sample, None for one run."""

    count: int
    mean: float
    deviation: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A field in which recipes differ, and its value in each; None if a recipe lacks it."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class McNemarTest:
    """McNemar's exact test of two runs on the same images.

    Attributes:
        first: Index of the first run.
        second: Index of the second run.
        only_first: Indices of the images that only the first run classifies correctly.
        only_second: Indices of the images that only the second run classifies correctly.
        p_value: Two-sided: the probability of a difference at least this large if both are equally good.
    """

    first: int
    second: int
    only_first: Indices
    only_second: Indices
    p_value: float


def spread(values: Sequence[float]) -> Spread:
    """Compute mean, deviation and range.

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


def spread_of_all(values: Sequence[float | None]) -> Spread | None:
    """Return the spread of a metric; None if it is undefined for one of the runs.

    Example:
        >>> spread_of_all([0.5, None]) is None
        True
    """
    defined = [value for value in values if value is not None]
    return spread(defined) if len(defined) == len(values) else None


def flatten_table(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten the tables of a recipe to one with dotted names; tables in a list are numbered.

    Example:
        >>> flatten_table({"train": {"epochs": 3}, "transforms": [{"name": "HorizontalFlip"}]})
        {'train.epochs': 3, 'transforms.0.name': 'HorizontalFlip'}
    """
    fields: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            fields |= flatten_table({str(number): item for number, item in enumerate(value)}, f"{name}.")
        elif isinstance(value, Mapping):
            fields |= flatten_table(value, f"{name}.")
        else:
            fields[name] = value
    return fields


def group_by_recipe(recipes: Sequence[Mapping[str, Any]], data: Sequence[Hashable]) -> list[list[int]]:
    """Group the indices of runs whose recipes differ only in their seed, in the order of their first.

    Args:
        recipes: The recipe of each run.
        data: What identifies the images and classes of each run; other images are another group.
    """

    def key(place: int) -> Hashable:
        fields = flatten_table(recipes[place])
        compared = sorted((k, repr(v)) for k, v in fields.items() if k != SEED and k not in _IGNORED)
        return recipes[place].get("name"), repr(compared), data[place]

    return group_equal([key(place) for place in range(len(recipes))])


def group_equal(keys: Sequence[Hashable]) -> list[list[int]]:
    """Group the indices of equal keys, in the order of their first.

    Example:
        >>> group_equal(["a", "b", "a"])
        [[0, 2], [1]]
    """
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def differences(recipes: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Return the fields in which recipes differ, by name; fields that only describe are ignored."""
    tables = [flatten_table(recipe) for recipe in recipes]
    names = sorted({name for table in tables for name in table} - _IGNORED)
    different = []
    for name in names:
        values = tuple(table.get(name) for table in tables)
        if any(value != values[0] or type(value) is not type(values[0]) for value in values[1:]):
            different.append(Difference(field=name, values=values))
    return tuple(different)


def mcnemar_test(first: int, second: int, runs: Sequence[Predictions]) -> McNemarTest | None:
    """Compare two runs image by image (McNemar 1947).

    Args:
        first: An index of `runs`.
        second: Another index.
        runs: The predictions of each run for its test set.

    Returns:
        None unless both are known to be for the same images in the same order.

    Example:
        >>> ids, labels = np.array([b"a", b"b"]), np.array([0, 0])
        >>> right = Predictions(logits=np.eye(2, dtype=np.float32)[[0, 0]], labels=labels, ids=ids)
        >>> wrong = Predictions(logits=np.eye(2, dtype=np.float32)[[1, 1]], labels=labels, ids=ids)
        >>> mcnemar_test(0, 1, [right, wrong]).p_value
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
    return McNemarTest(
        first=first, second=second, only_first=only_first, only_second=only_second, p_value=p_value
    )
