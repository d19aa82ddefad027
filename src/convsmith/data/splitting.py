"""Stratified splits in which images that belong together stay together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsmith.text import plural

_MAX_LISTED = 5
Indices = NDArray[np.int64]


class SplitError(ValueError):
    """Images cannot be split; the message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """How many images were kept together.

    Attributes:
        equal_images: Images with the pixels of an earlier one.
        groups: Groups by `data.group`; None without it.
    """

    equal_images: int
    groups: int | None

    @property
    def is_trivial(self) -> bool:
        """Whether every image can be in any split."""
        return self.equal_images == 0 and self.groups is None


def connected(*keys: NDArray[np.generic]) -> Indices:
    """Number the sets of images that are connected by equal keys: `(N,)`, in the order of their first images.

    Args:
        keys: Of each image, `(N,)` each.

    >>> connected(np.array([7, 8, 9, 8]), np.array(["a", "b", "a", "c"])).tolist()
    [0, 1, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    images = np.arange(count)
    rows, columns, size = [], [], count
    for key in keys:
        values, node = np.unique(key, return_inverse=True)
        rows.append(images)
        columns.append(size + node)
        size += len(values)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][:count]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order: Indices = np.argsort(np.argsort(first))[inverse].astype(np.int64)
    return order


def held_out(
    labels: Indices, units: Indices, fraction: float, seed: int, names: Sequence[str]
) -> NDArray[np.bool_]:
    """Choose the images of a split: about `fraction` of each class, whole units only.

    Args:
        labels: `(N,)`.
        units: `(N,)`, from 0 without gaps; images of one unit stay together.
        fraction: Share of the images, above 0 and at most 0.5.
        seed: Of the order in which units are placed.
        names: Of the classes, for errors.

    Returns:
        `(N,)`, whether an image is held out. Without units of several images this is scikit-learn's
        stratified split.

    Raises:
        SplitError: A class cannot be in both parts.
    """
    table = _Units(labels, units)
    _check_divisible(table, fraction, names)
    if table.num_units == len(labels):
        from sklearn.model_selection import train_test_split

        chosen = np.zeros(len(labels), dtype=np.bool_)
        images = np.arange(len(labels))
        chosen[train_test_split(images, test_size=fraction, random_state=seed, stratify=labels)[1]] = True
        return chosen
    part = _place(table, fraction, seed).astype(np.int64)
    _complete(table, part, 2, names)
    result: NDArray[np.bool_] = part[units] == 1
    return result


def fold_numbers(labels: Indices, units: Indices, count: int, seed: int, names: Sequence[str]) -> Indices:
    """Divide images into folds of about equal size, each with its share of each class, whole units only.

    Args:
        labels: `(N,)`.
        units: `(N,)`, from 0 without gaps; images of one unit stay together.
        count: Of the folds, at least 2.
        seed: Of the order in which units are placed.
        names: Of the classes, for errors.

    Returns:
        `(N,)`, the fold of each image, from 0. Without units of several images these are scikit-learn's
        stratified folds, in which the images of a class, and those of all, differ by at most one.

    Raises:
        SplitError: A class cannot be in every fold.

    >>> labels, units = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 4, 5])
    >>> sorted(fold_numbers(labels, units, 3, 0, ["cat", "dog"])[labels == 1].tolist())
    [0, 1, 2]
    """
    table = _Units(labels, units)
    _check_folds(table, count, names)
    if table.num_units == len(labels):
        from sklearn.model_selection import StratifiedKFold

        chosen = np.zeros(len(labels), dtype=np.int64)
        folds = StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels)
        for fold, (_, held) in enumerate(folds):
            chosen[held] = fold
        return chosen
    part = _deal(table, count, seed)
    _complete(table, part, count, names)
    result: Indices = part[units]
    return result


class _Units:
    """The number of images of each class in each unit, without the zeros."""

    def __init__(self, labels: Indices, units: Indices) -> None:
        self.num_units, self.num_classes = int(units.max()) + 1, int(labels.max()) + 1
        self.sizes = np.bincount(units)
        self.totals = np.bincount(labels)
        cells, self.counts = np.unique(units * self.num_classes + labels, return_counts=True)
        self.units, self.classes = np.divmod(cells, self.num_classes)
        self.starts = np.searchsorted(self.units, np.arange(self.num_units + 1))

    def of(self, unit: int) -> tuple[Indices, Indices]:
        """Return the classes in a unit, and their numbers of images."""
        cells = slice(self.starts[unit], self.starts[unit + 1])
        return self.classes[cells], self.counts[cells]

    def units_of_classes(self, part: NDArray[np.bool_]) -> Indices:
        """Return in how many units of a part each class is."""
        return np.bincount(self.classes[part[self.units]], minlength=self.num_classes)


def _check_divisible(table: _Units, fraction: float, names: Sequence[str]) -> None:
    """Raise SplitError unless each class can have a unit in both parts."""
    everywhere = table.units_of_classes(np.ones(table.num_units, dtype=np.bool_))
    single = [names[label] for label in np.flatnonzero(everywhere == 1).tolist()]
    if single:
        unit = "image" if table.num_units == table.totals.sum() else "group of images, or of equal images,"
        rest = len(single) - _MAX_LISTED
        raise SplitError(
            f"one {unit} only of {', '.join(map(repr, single[:_MAX_LISTED]))}"
            f"{f' and {rest:,} more classes' if rest > 0 else ''}, so that no other part can have one"
        )
    count, classes = int(table.totals.sum()), np.count_nonzero(table.totals)
    held = math.ceil(count * fraction)
    if min(held, count - held) < classes:
        raise SplitError(
            f"a share of {fraction} of {count:,} images is {held:,}, expected at least one image of each of "
            f"the {classes:,} classes in both parts"
        )


def _check_folds(table: _Units, count: int, names: Sequence[str]) -> None:
    """Raise SplitError unless each class has a unit for each fold."""
    everywhere = table.units_of_classes(np.ones(table.num_units, dtype=np.bool_))
    small = [label for label in np.flatnonzero(table.totals).tolist() if everywhere[label] < count]
    if not small:
        return
    least = min(small, key=lambda label: int(everywhere[label]))
    alone = table.num_units == table.totals.sum()
    unit = plural(int(everywhere[least]), "image" if alone else "group")
    rest = len(small) - 1
    more = f"; {plural(rest, 'more class')} {'has' if rest == 1 else 'have'} too few" if rest else ""
    raise SplitError(
        f"found {unit}{'' if alone else ' of images, or of equal images,'} of {names[least]!r}, expected at "
        f"least one for each of {count} folds{more}"
    )


def _deal(table: _Units, count: int, seed: int) -> Indices:
    """Place units one by one, the largest first, where their classes have the least; then in the smallest."""
    order = np.random.default_rng(seed).permutation(table.num_units)
    order = order[np.argsort(-table.sizes[order], kind="stable")]
    part = np.zeros(table.num_units, dtype=np.int64)
    images, sizes = np.zeros((count, table.num_classes), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for unit in order:
        classes, counts = table.of(unit)
        costs = (images[:, classes] * (counts / table.totals[classes])).sum(1)
        fold = int(np.lexsort((sizes, costs))[0])
        part[unit] = fold
        images[fold, classes] += counts
        sizes[fold] += table.sizes[unit]
    return part


def _place(table: _Units, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Place units one by one, the largest first, where they bring the shares of their classes closer."""
    order = np.random.default_rng(seed).permutation(table.num_units)
    order = order[np.argsort(-table.sizes[order], kind="stable")]
    part = np.zeros(table.num_units, dtype=np.bool_)
    # Images of each class that are held out, minus those that should be, of those placed so far.
    excess = np.zeros(table.num_classes)
    for unit in order:
        classes, counts = table.of(unit)
        change = counts * (2 * excess[classes] + (1 - 2 * fraction) * counts) / table.totals[classes]
        part[unit] = change.sum() < 0
        excess[classes] += counts * (part[unit] - fraction)
    return part


def _complete(table: _Units, part: Indices, count: int, names: Sequence[str]) -> None:
    """Move the smallest possible unit of each class that one part lacks; `part` numbers those of units."""
    for target in range(count):
        absent = (table.units_of_classes(part == target) == 0) & (table.totals > 0)
        for label in np.flatnonzero(absent).tolist():
            remaining = [table.units_of_classes(part == each) for each in range(count)]
            candidates = [
                unit
                for unit in np.unique(table.units[table.classes == label])
                if (remaining[part[unit]][table.of(unit)[0]] > 1).all()
            ]
            if not candidates:
                raise SplitError(
                    f"the groups cannot be divided so that {'both' if count == 2 else 'all'} parts have "
                    f"images of {names[label]!r}"
                )
            part[min(candidates, key=lambda unit: table.sizes[unit])] = target
