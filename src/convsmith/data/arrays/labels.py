"""From arrays of labels to classes: numbers, texts, truth values, one-hot rows. Anything else is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.arrays.lazy import LazyArray, refuse_objects
from convsmith.data.labels import TableLabels
from convsmith.errors import DataError

_MAX_LABELS, _MAX_CLASSES = 50_000_000, 65_536
_ONE_CLASS = "an image has one class: write one whole number of 0, 1, 2, ... for each image"


def array_labels(
    arrays: Sequence[LazyArray], counts: Sequence[int], names: Sequence[str] | None = None
) -> list[TableLabels]:
    """Return the labels of the splits.

    Args:
        arrays: Of each split `(N,)` or `(N, 1)`: whole numbers, whole floats, truth values or texts; or
            `(N, classes)`, one-hot.
        counts: The number of images of each split.
        names: Of the classes, if they are known.

    Raises:
        DataError: The lengths differ, or the labels are no classes.

    Example:
        >>> from convsmith.data.arrays.lazy import lazy_array
        >>> array_labels([lazy_array("y", np.array([[0, 1], [1, 0]]))], [2])[0].values
        [1, 0]
    """
    refuse_objects(arrays)
    for array, count in zip(arrays, counts, strict=True):
        if len(array) != count:
            raise DataError(
                f"found {len(array):,} labels for {count:,} images",
                where=array.where,
                fix="write one label for each image, in the same order",
            )
        if count > _MAX_LABELS:
            raise DataError(f"found {count:,} labels, expected at most {_MAX_LABELS:,}", where=array.where)
    found = [_flat(each.load(), each.where) for each in arrays]
    if any(each.dtype.kind not in "ui" for each in found):
        return [
            TableLabels.of(array.where, labels.tolist()) for array, labels in zip(arrays, found, strict=True)
        ]
    declared, first = _declared(arrays, found, names)
    return [
        TableLabels.of(array.where, (labels - first).tolist(), declared)
        for array, labels in zip(arrays, found, strict=True)
    ]


def notes_of(array: LazyArray) -> tuple[str, ...]:
    """Return what was decided about an array of labels, for the log."""
    if is_one_hot(array.shape):
        return (f"one-hot labels in {array.location}: the class of a row is the column of its 1",)
    return ()


def is_one_hot(shape: tuple[int, ...]) -> bool:
    """Return whether labels of a shape can only be one-hot.

    >>> [is_one_hot(shape) for shape in ((5,), (5, 1), (5, 10))]
    [False, False, True]
    """
    return len(shape) == 2 and shape[1] > 1


def _declared(
    arrays: Sequence[LazyArray], labels: Sequence[NDArray[Any]], names: Sequence[str] | None
) -> tuple[Sequence[str] | None, int]:
    """Return the names of the classes that numbers stand for, if they are known, and the first number."""
    columns = max((each.shape[1] for each in arrays if is_one_hot(each.shape)), default=0)
    if names is None:
        return ([str(number) for number in range(columns)] if columns else None), 0
    values = np.concatenate(labels)
    # As in STL-10, classes may be counted from 1.
    first = int(len(values) > 0 and values.min() == 1 and values.max() == len(names))
    classes = max(columns, int(values.max(initial=0)) + 1 - first)
    if len(names) < classes:
        raise DataError(
            f"found {classes:,} classes and {len(names):,} names of classes",
            where=arrays[0].where,
            fix="name every class, in the order of the labels",
        )
    return names, first


def _flat(labels: NDArray[Any], location: str) -> NDArray[Any]:
    """Return `(N,)`: whole numbers from 0, texts or truth values."""
    if labels.ndim > 2:
        raise DataError(
            f"found labels of the shape {labels.shape}, as masks of segmentation have",
            where=location,
            fix=_ONE_CLASS,
        )
    if is_one_hot(labels.shape):
        return _one_hot(labels, location)
    flat = labels.reshape(-1)
    if flat.dtype.kind == "S":
        return np.char.decode(flat, "utf-8", "replace")
    if flat.dtype.kind in "Ub":
        return flat
    if flat.dtype.kind == "f":
        flat = _whole(flat, location)
    elif flat.dtype.kind not in "ui":
        raise DataError(f"found labels of the type {flat.dtype}", where=location, fix=_ONE_CLASS)
    if negative := int((flat < 0).sum()):
        row = int(np.argmax(flat < 0))
        raise DataError(
            f"found {negative:,} negative labels of {len(flat):,}, the first is {flat[row]} in row {row}",
            where=location,
            fix="leave out images without a class, and write whole numbers of 0, 1, 2, ...",
        )
    return flat.astype(np.int64)


def _one_hot(labels: NDArray[Any], location: str) -> NDArray[np.int64]:
    """Return the class of each row of one-hot labels."""
    if labels.dtype.kind not in "buif" or labels.shape[1] > _MAX_CLASSES:
        raise DataError(
            f"found labels {labels.dtype} of the shape {labels.shape}", where=location, fix=_ONE_CLASS
        )
    is_binary = bool(((labels == 0) | (labels == 1)).all())
    sums = labels.sum(axis=1, dtype=np.float64)
    if is_binary and (sums == 1).all():
        classes: NDArray[np.int64] = labels.argmax(axis=1).astype(np.int64)
        return classes
    shape = f"labels of the shape {labels.shape}"
    if is_binary:
        row = int(np.argmax(sums != 1))
        raise DataError(
            f"{shape} have several classes an image, or none: row {row} has {int(sums[row])}",
            where=location,
            fix=f"multi-label data are not read; {_ONE_CLASS}",
        )
    if labels.dtype.kind == "f" and np.allclose(sums, 1):
        raise DataError(
            f"{shape} are probabilities, not classes",
            where=location,
            fix="choose the likeliest class: y.argmax(axis=1)",
        )
    raise DataError(f"{shape} are neither classes nor one-hot", where=location, fix=_ONE_CLASS)


def _whole(labels: NDArray[Any], location: str) -> NDArray[np.int64]:
    """Return floats without fraction as whole numbers."""
    wrong = ~np.isfinite(labels) | (labels != np.rint(np.nan_to_num(labels))) | (np.abs(labels) > 2**53)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"found {int(wrong.sum()):,} labels that are no whole numbers, the first is {labels[row]:g} in "
            f"row {row}",
            where=location,
            fix=f"{_ONE_CLASS}; measured values are not classified",
        )
    return labels.astype(np.int64)
