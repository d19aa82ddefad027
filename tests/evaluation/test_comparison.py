"""Groups, differences and McNemar's test of runs."""

from math import comb

import numpy as np
import pytest

from convsmith.evaluation.comparison import differences, flatten_table, group_by_recipe, mcnemar_test, spread
from convsmith.evaluation.predictions import Predictions
from convsmith.recipes.loader import load


def random_predictions(accuracy: float, seed: int, ids: bytes = b"x") -> Predictions:
    generator = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    correct = generator.random(200) < accuracy
    logits = np.eye(2, dtype=np.float32)[np.where(correct, labels, 1 - labels)]
    return Predictions(
        logits=logits, labels=labels, ids=np.array([ids + str(n).encode() for n in range(200)], dtype="S16")
    )


@pytest.mark.parametrize("accuracies", [(0.9, 0.6), (0.7, 0.72), (0.8, 0.8)])
def test_mcnemar_computed_by_counting(accuracies: tuple[float, float]) -> None:
    first_run, second_run = random_predictions(accuracies[0], 1), random_predictions(accuracies[1], 2)
    result = mcnemar_test(0, 1, [first_run, second_run])
    assert result is not None
    first, second = first_run.predicted == first_run.labels, second_run.predicted == second_run.labels
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    assert (len(result.only_first), len(result.only_second)) == (b, c)
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert result.p_value == pytest.approx(min(2 * tail, 1.0))


def test_pairs_that_cannot_be_compared() -> None:
    first_run, second_run = random_predictions(0.9, 1), random_predictions(0.8, 2, ids=b"y")
    assert mcnemar_test(0, 1, [first_run, second_run]) is None
    without = Predictions(logits=first_run.logits, labels=first_run.labels)
    assert mcnemar_test(0, 1, [first_run, without]) is None
    same = mcnemar_test(0, 1, [first_run, first_run])
    assert same is not None
    assert same.p_value == 1


def test_groups_and_differences() -> None:
    recipes = [
        load("digits", overrides).table()
        for overrides in ([], ["seed=4"], ["train.epochs=3"], ["augment.transforms=[]", "name=other"])
    ]
    assert group_by_recipe(recipes, ["a"] * 4) == [[0, 1], [2], [3]]
    # The same recipe with other images is another group.
    assert group_by_recipe(recipes, ["a", "b", "a", "a"]) == [[0], [1], [2], [3]]
    assert [each.field for each in differences(recipes[:2])] == ["seed"]
    (epochs,) = differences([recipes[0], recipes[2]])
    assert (epochs.field, epochs.values) == ("train.epochs", (30, 3))
    fields = {each.field: each.values for each in differences([recipes[0], recipes[3]])}
    assert fields["augment.transforms.0.name"] == ("ShiftScaleRotate", None)
    assert flatten_table(recipes[0])["train.optimizer.name"] == "adamw"


def test_spread_agrees_with_numpy() -> None:
    values = [0.9, 0.92, 0.97]
    result = spread(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.deviation == pytest.approx(np.std(values, ddof=1))
