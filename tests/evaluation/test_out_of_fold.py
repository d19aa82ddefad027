"""Out-of-fold predictions: one for each image, in its place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsmith.errors import RunError
from convsmith.evaluation.out_of_fold import Spread, pool_predictions
from convsmith.evaluation.predictions import Predictions


def random_parts(seed: int, count: int) -> tuple[Predictions, list[Predictions], np.ndarray]:
    """Predictions of all images, those of each fold, and the fold of each image."""
    random = np.random.default_rng(seed)
    folds = random.permutation(np.concatenate([np.arange(count), random.integers(0, count, 30)]))
    every = Predictions(
        logits=random.standard_normal((len(folds), 3)).astype(np.float32),
        labels=random.integers(0, 3, len(folds)),
        ids=np.array([f"{place:016x}" for place in range(len(folds))], dtype="S16"),
    )
    assert every.ids is not None
    parts = [
        Predictions(logits=every.logits[chosen], labels=every.labels[chosen], ids=every.ids[chosen])
        for chosen in (folds == number for number in range(count))
    ]
    return every, parts, folds


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_predictions_return_to_the_places_of_their_images(seed: int, count: int) -> None:
    every, parts, folds = random_parts(seed, count)
    assert every.ids is not None
    pooled = pool_predictions(parts, folds, every.labels, every.ids)
    assert np.array_equal(pooled.logits, every.logits)
    assert pooled.features is None


def test_predictions_of_other_images_are_an_error() -> None:
    every, parts, folds = random_parts(0, 3)
    assert every.ids is not None
    for wrong in (
        [parts[1], parts[0], parts[2]],
        [
            parts[0],
            Predictions(logits=parts[1].logits, labels=(parts[1].labels + 1) % 3, ids=parts[1].ids),
            parts[2],
        ],
        [parts[0], parts[1], Predictions(logits=parts[2].logits[:-1], labels=parts[2].labels[:-1])],
    ):
        with pytest.raises(RunError, match=r"fold [123] of 3: the predictions are not of the images"):
            pool_predictions(wrong, folds, every.labels, every.ids)


def test_an_image_without_a_prediction_is_an_error() -> None:
    every, parts, folds = random_parts(0, 3)
    assert every.ids is not None
    with pytest.raises(RunError, match="without exactly one prediction"):
        pool_predictions(parts[:2], folds, every.labels, every.ids)


def test_a_spread_is_that_of_numpy() -> None:
    values = [0.91, 0.93, 0.97, 0.9]
    spread = Spread.of(values)
    assert spread is not None
    assert (spread.low, spread.high) == (0.9, 0.97)
    assert np.allclose([spread.mean, spread.deviation], [np.mean(values), np.std(values, ddof=1)])
