"""Splits that keep images together: properties, and the split of scikit-learn where nothing is together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from convsmith.data.config import DataConfig
from convsmith.data.dataset import load
from convsmith.data.splitting import SplitError, connected, fold_numbers, held_out

NAMES = tuple("abcdefghij")


def random_units(seed: int, classes: int, largest: int, *, mixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Units of up to `largest` images, each of one class, or of any."""
    generator = np.random.default_rng(seed)
    units = np.repeat(np.arange(200), generator.integers(1, largest + 1, 200))
    of_unit = generator.integers(0, classes, 200)
    labels = generator.integers(0, classes, len(units)) if mixed else of_unit[units]
    order = generator.permutation(len(units))
    return labels[order], connected(units[order])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("largest", [2, 12])
def test_units_stay_whole_and_classes_keep_their_shares(
    seed: int, fraction: float, *, mixed: bool, largest: int
) -> None:
    labels, units = random_units(seed, 5, largest, mixed=mixed)
    held = held_out(labels, units, fraction, seed, NAMES)
    assert set(units[held]).isdisjoint(units[~held])
    shares = np.bincount(labels[held], minlength=5) / np.bincount(labels, minlength=5)
    # No class is further off than one unit of the largest size, or a few per cent with mixed ones.
    allowed = max(largest / np.bincount(labels).min(), 0.08)
    assert np.abs(shares - fraction).max() <= allowed
    assert abs(held.mean() - fraction) <= 0.03
    assert np.array_equal(held, held_out(labels, units, fraction, seed, NAMES))


@pytest.mark.parametrize("fraction", [0.05, 0.2, 1 / 3, 0.5])
@pytest.mark.parametrize("seed", [0, 7])
def test_without_units_the_split_is_that_of_scikit_learn(fraction: float, seed: int) -> None:
    labels = np.random.default_rng(1).integers(0, 10, 997)
    rest, held = train_test_split(np.arange(997), test_size=fraction, random_state=seed, stratify=labels)
    chosen = held_out(labels, np.arange(997), fraction, seed, NAMES)
    assert np.flatnonzero(chosen).tolist() == sorted(held)
    assert np.flatnonzero(~chosen).tolist() == sorted(rest)


def test_the_splits_of_digits_are_as_they_were() -> None:
    """Fingerprints of version 0.1.0: no images of digits are equal."""
    data = load(DataConfig(source="digits", test_fraction=1 / 3, validation=0.1))
    assert data.grouping is not None
    assert data.grouping.is_trivial
    labels = np.sort(np.concatenate([split.labels for split in data.splits.values()]))
    assert len(labels) == 1797
    assert {name: print_[:12] for name, print_ in data.split_fingerprints().items()} == EXPECTED


EXPECTED = {"train": "5633dd088f6b", "validation": "bc323227e162", "test": "8be4c4107c88"}


def test_another_seed_gives_another_split() -> None:
    labels, units = random_units(0, 5, 4, mixed=False)
    first, second = (held_out(labels, units, 0.2, seed, NAMES) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_every_class_is_in_both_parts_if_that_is_possible() -> None:
    # Each class has one large unit and one small one; the shares alone would hold out none of some.
    labels = np.repeat([0, 0, 1, 1, 2, 2], [40, 2, 30, 1, 50, 1])
    units = np.repeat([0, 1, 2, 3, 4, 5], [40, 2, 30, 1, 50, 1])
    held = held_out(labels, units, 0.1, 0, NAMES)
    assert set(labels[held]) == set(labels[~held]) == {0, 1, 2}


def test_a_class_in_one_unit_is_an_error() -> None:
    labels, units = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 2])
    with pytest.raises(SplitError, match="one group of images, or of equal images, only of 'b'"):
        held_out(labels, units, 0.2, 0, NAMES)


def test_classes_that_need_one_unit_in_both_parts_are_an_error() -> None:
    # Two units, each with both classes but one: whichever is held out, the other part lacks a class.
    labels, units = np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 1])
    assert held_out(labels, units, 0.5, 0, NAMES).sum() == 3
    labels, units = np.array([0, 1, 0, 2, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(SplitError, match="cannot be divided so that both parts have images of"):
        held_out(labels, units, 0.5, 0, NAMES)


def test_connected_against_a_second_way() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        first, second = generator.integers(0, 30, 40), generator.integers(0, 30, 40)
        reach = (first[:, None] == first) | (second[:, None] == second)
        for _ in range(6):
            reach = (reach.astype(int) @ reach) > 0
        found = connected(first, second)
        assert np.array_equal(found[:, None] == found, reach)
        # Numbered without gaps, by first image.
        assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))


@st.composite
def classes_and_folds(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Labels in any order, each class with an image for each fold; the number of folds, and a seed."""
    count = draw(st.integers(2, 7))
    sizes = draw(st.lists(st.integers(count, 4 * count), min_size=1, max_size=6))
    seed = draw(st.integers(0, 2**32 - 1))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels), count, seed


@given(classes_and_folds())
def test_folds_without_units_are_stratified_within_one_image(
    example: tuple[np.ndarray, int, int],
) -> None:
    labels, count, seed = example
    folds = fold_numbers(labels, np.arange(len(labels)), count, seed, NAMES)
    table = np.zeros((labels.max() + 1, count), dtype=int)
    np.add.at(table, (labels, folds), 1)
    # Each image is in one fold; the numbers of a class differ by at most one, and so do those of all images.
    assert table.sum() == len(labels)
    assert (np.ptp(table, axis=1) <= 1).all()
    assert np.ptp(table.sum(0)) <= 1
    assert np.array_equal(folds, fold_numbers(labels, np.arange(len(labels)), count, seed, NAMES))


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 9), st.booleans())
def test_folds_keep_units_whole_and_have_every_class(
    seed: int, count: int, largest: int, mixed: bool
) -> None:
    labels, units = random_units(seed, 4, largest, mixed=mixed)
    folds = fold_numbers(labels, units, count, seed % 1000, NAMES)
    of_unit = {(unit, fold) for unit, fold in zip(units.tolist(), folds.tolist(), strict=True)}
    assert len(of_unit) == units.max() + 1
    table = np.zeros((4, count), dtype=int)
    np.add.at(table, (labels, folds), 1)
    assert table.min() > 0
    # No class is further from its share than units of the largest size; mixed units share their classes.
    allowed = largest * (4 if mixed else 1)
    assert np.abs(table - table.sum(1, keepdims=True) / count).max() <= allowed


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_units_of_one_image_that_are_dealt_are_stratified_too(seed: int, count: int) -> None:
    # One pair of equal images, so that the folds are not those of scikit-learn.
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(3), 4 * count))
    units = connected(
        np.where(np.arange(len(labels)) == np.flatnonzero(labels == labels[0])[1], 0, np.arange(len(labels)))
    )
    folds = fold_numbers(labels, units, count, 0, NAMES)
    table = np.zeros((3, count), dtype=int)
    np.add.at(table, (labels, folds), 1)
    assert np.ptp(table, axis=1).max() <= 2
    assert folds[0] == folds[np.flatnonzero(labels == labels[0])[1]]


@pytest.mark.parametrize(
    ("units", "error"),
    [
        (
            [0, 1, 2, 3, 4],
            "found 2 images of 'b', expected at least one for each of 3 folds",
        ),
        (
            [0, 1, 2, 3, 3],
            "found 1 group of images, or of equal images, of 'b', expected at least one for each of 3 folds",
        ),
        (
            [0, 0, 0, 1, 2],
            (
                "found 1 group of images, or of equal images, of 'a', expected at least one for each of 3 "
                "folds; 1 more class has too few"
            ),
        ),
    ],
)
def test_more_folds_than_images_or_groups_of_a_class_are_an_error(units: list[int], error: str) -> None:
    with pytest.raises(SplitError) as caught:
        fold_numbers(np.array([0, 0, 0, 1, 1]), np.array(units), 3, 0, NAMES)
    assert str(caught.value) == error


def test_a_class_that_a_fold_lacks_moves_there() -> None:
    # The large units of class 0 bring class 1 along, so that the shares alone leave a fold without it.
    labels = np.array([0] * 9 + [1] * 3 + [0, 1] * 2)
    units = np.array([0] * 9 + [1, 1, 1] + [2, 3, 2, 3])
    folds = fold_numbers(labels, units, 2, 0, NAMES)
    assert {tuple(np.unique(labels[folds == fold])) for fold in range(2)} == {(0, 1)}
