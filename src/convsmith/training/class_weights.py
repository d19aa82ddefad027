"""Weights of the classes in the loss, for data whose classes have different numbers of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convsmith.codegen import number
from convsmith.data.dataset import TrainingData
from convsmith.data.labels import canonical_name
from convsmith.errors import Problem, RecipeError, suggest
from convsmith.text import from_least_to_most, in_line, join_first, plural
from convsmith.training.config import TrainConfig

# Names in an error or a note; a table of more classes is written by hand in any case.
_MAX_LISTED = 20
_WHERE = "train.class_weights"


def class_weights_of(config: TrainConfig, data: TrainingData) -> tuple[float, ...] | None:
    """Return the weight of each class in the loss, in the order of the labels; None if all count equally.

    Raises:
        RecipeError: The table of weights does not name the classes of the data, or "balanced" weights are
            undefined because a class has no training image.

    Example:
        >>> from convsmith.data.config import DataConfig
        >>> from convsmith.data.dataset import load
        >>> config = TrainConfig(epochs=1, class_weights="balanced")
        >>> [round(weight, 3) for weight in class_weights_of(config, load(DataConfig(source="digits")))[:3]]
        [1.012, 0.984, 1.012]
    """
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        return balanced_weights(class_counts(data.train.labels, data.class_names), data.class_names)
    return table_weights(config.class_weights, data.class_names)


def loss_weights_of(config: TrainConfig, data: TrainingData) -> tuple[float, ...] | None:
    """Return the weights of `class_weights_of`, scaled to the mean 1 over the images that an epoch draws.

    The loss of mixed images is divided by their number, not by the sum of their weights. Without the scale,
    the learning rate of a table would be multiplied by its mean wherever images are mixed.

    Raises:
        RecipeError: As `class_weights_of`.

    Example:
        >>> from convsmith.data.config import DataConfig
        >>> from convsmith.data.dataset import load
        >>> table = {str(digit): 100.0 for digit in range(10)}
        >>> config = TrainConfig(epochs=1, class_weights=table)
        >>> loss_weights_of(config, load(DataConfig(source="digits")))[:2]
        (1.0, 1.0)
    """
    weights = class_weights_of(config, data)
    if weights is None or config.class_weights == "balanced":
        return weights
    counts = class_counts(data.train.labels, data.class_names)
    shares = [min(count, 1) for count in counts] if config.sampling == "balanced" else counts
    mean = sum(weight * share for weight, share in zip(weights, shares, strict=True)) / sum(shares)
    return tuple(weight / mean for weight in weights)


def class_counts(labels: Any, class_names: Sequence[str]) -> tuple[int, ...]:
    """Count the images of each class, given labels `(N,)`."""
    return tuple(np.bincount(labels, minlength=len(class_names)).tolist())


def balanced_weights(counts: Sequence[int], class_names: Sequence[str]) -> tuple[float, ...]:
    """Return `images / (classes * images of the class)` for each class: their mean over the images is 1.

    King and Zeng, "Logistic Regression in Rare Events Data", Political Analysis 9 (2001), 137-163; the same
    numbers as `compute_class_weight("balanced")` of scikit-learn.

    Args:
        counts: Training images of each class.
        class_names: For the error.

    Raises:
        RecipeError: A class has no images.

    Example:
        >>> balanced_weights([90, 10], ["healthy", "ill"])
        (0.5555555555555556, 5.0)
    """
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        raise RecipeError(
            f"balanced weights are undefined for classes without training images: {_listed(empty)}",
            where=_WHERE,
            fix=f"add images, or write a table: {_example(class_names)}",
        )
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


def table_weights(table: Mapping[str, float], class_names: Sequence[str]) -> tuple[float, ...]:
    """Return the weights of a table by class name, in the order of the labels.

    Raises:
        RecipeError: The table names other classes, or not all.

    Example:
        >>> table_weights({"dog": 1.0, "cat": 2.0}, ["cat", "dog"])
        (2.0, 1.0)
    """
    weights = {canonical_name(name): weight for name, weight in table.items()}
    own = [canonical_name(name) for name in class_names]
    classes = f"the classes are {_listed(class_names)}"
    problems = [
        Problem(
            what=f"the data has no class {in_line(name)!r}; {classes}",
            where=f"{_WHERE}.{in_line(name)}",
            fix=suggest(name, own),
        )
        for name in weights
        if name not in own
    ]
    if missing := [name for name in own if name not in weights]:
        problems.append(
            Problem(
                what=f"{plural(len(missing), 'class')} without a weight: {_listed(missing)}",
                where=_WHERE,
                fix=f"name every class, 1 for those that count as usual: {_example(class_names)}",
            )
        )
    if problems:
        raise RecipeError.of(problems)
    return tuple(weights[name] for name in own)


def weights_line(weights: Sequence[float], class_names: Sequence[str]) -> str:
    """Describe the weights in a line; of many classes the largest and the smallest.

    Example:
        >>> weights_line((0.5, 2.0), ("cat", "dog"))
        'cat 0.5, dog 2'
    """
    pairs = [
        f"{in_line(name)} {number(float(f'{weight:.4g}'))}"
        for name, weight in zip(class_names, weights, strict=True)
    ]
    if len(pairs) <= _MAX_LISTED:
        return ", ".join(pairs)
    return f"{plural(len(pairs), 'class')}, {from_least_to_most(pairs, weights)}"


def _listed(names: Sequence[str]) -> str:
    return join_first(map(in_line, names), _MAX_LISTED)


def _example(class_names: Sequence[str]) -> str:
    """Return the line of a table that names every class; the first ones of many."""
    keys = [name if name.isalnum() and name.isascii() else f'"{in_line(name)}"' for name in class_names]
    more = ", ..." if len(keys) > _MAX_LISTED else ""
    return f"class_weights = {{ {', '.join(f'{key} = 1' for key in keys[:_MAX_LISTED])}{more} }}"
