"""Weights of the classes, against scikit-learn's."""

import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from convsmith.data.dataset import ImageDataset
from convsmith.errors import RecipeError
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.class_weights import (
    balanced_weights,
    class_weights_of,
    loss_weights_of,
    weights_line,
)
from convsmith.training.config import TrainConfig
from helpers.trained import trained


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return Session.load(load("digits")).data


def config(weights: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "class_weights": weights})


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    weights = balanced_weights(counts, [""] * len(counts))
    assert weights == pytest.approx(expected)
    # The loss has the scale of one without weights.
    assert np.mean(np.array(weights)[labels]) == pytest.approx(1)


def test_balanced_weights_are_of_the_images_that_are_trained_on() -> None:
    data = Session.load(load("digits", ["data.validation=0.3"])).data
    expected = compute_class_weight("balanced", classes=np.arange(10), y=data.train.labels)
    assert class_weights_of(config("balanced"), data) == pytest.approx(expected)


def test_a_class_without_images_has_no_balanced_weight() -> None:
    with pytest.raises(RecipeError) as caught:
        balanced_weights([3, 0, 1], ["cat", "sea lion", "dog"])
    assert str(caught.value) == (
        "error[E030]: train.class_weights: balanced weights are undefined for classes without training "
        "images: sea lion\n  fix: add images, or write a table: class_weights = "
        '{ cat = 1, "sea lion" = 1, dog = 1 }'
    )


def test_a_table_is_in_the_order_of_the_labels(digits: ImageDataset) -> None:
    table = {str(digit): digit + 1 for digit in reversed(range(10))}
    assert class_weights_of(config(table), digits) == tuple(range(1, 11))
    assert class_weights_of(config(None), digits) is None


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_weights_in_the_loss_have_the_mean_1_over_the_images_drawn(
    digits: ImageDataset, sampling: str
) -> None:
    table = {str(digit): 100.0 * (digit + 1) for digit in range(10)}
    train = config(table).model_copy(update={"sampling": sampling})
    weights = loss_weights_of(train, digits)
    assert weights is not None
    assert np.array(weights) / weights[0] == pytest.approx(np.arange(1, 11))
    drawn = digits.train.labels if sampling == "shuffle" else np.arange(10)
    assert np.mean(np.array(weights)[drawn]) == pytest.approx(1)
    assert loss_weights_of(config("balanced"), digits) == class_weights_of(config("balanced"), digits)
    assert loss_weights_of(config(None), digits) is None


def test_a_table_of_equal_weights_changes_nothing_even_if_images_are_mixed() -> None:
    table = ", ".join(f"{digit}=100" for digit in range(10))
    settings = ["train.epochs=1", "model.net=C4 / G F10", 'augment.mix={name="mixup"}']
    plain, _ = trained(load("digits", settings))
    weighted, _ = trained(load("digits", [*settings, f"train.class_weights={{{table}}}"]))
    for one, other in zip(plain.parameters(), weighted.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_composed_letters_of_a_name_do_not_matter(digits: ImageDataset) -> None:
    from dataclasses import replace

    names = ("café", *digits.class_names[1:])
    table = dict.fromkeys(names[1:], 1.0) | {unicodedata.normalize("NFD", "café"): 3.0}
    weights = class_weights_of(config(table), replace(digits, class_names=names))
    assert weights is not None
    assert weights[0] == 3


def test_unknown_and_missing_classes_are_reported_together(digits: ImageDataset) -> None:
    table = {**{str(digit): 1 for digit in range(8)}, "nine": 2.0, "1O": 3}
    with pytest.raises(RecipeError) as caught:
        class_weights_of(config(table), digits)
    text = str(caught.value)
    assert (
        "train.class_weights.nine: the data has no class 'nine'; the classes are 0, 1, 2, 3, 4, 5, 6" in text
    )
    assert "train.class_weights.1O: the data has no class '1O'" in text
    assert "train.class_weights: 2 classes without a weight: 8, 9" in text
    assert "class_weights = { 0 = 1, 1 = 1, 2 = 1" in text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{a=1, b=0}", "train.class_weights: b: found 0, expected a number above 0 and at most 1,000,000"),
        ("{a=nan}", "a: found nan, expected a number above 0"),
        ("{a=inf}", "a: found inf, expected a number above 0"),
        ("{a=true}", "a: found True, expected a number above 0"),
        ('{a="2"}', "a: found '2', expected a number above 0"),
        ("{}", 'found {}, expected "balanced" or a table of classes'),
        ("uniform", "found 'uniform', expected \"balanced\" or a table of classes"),
        ("[1, 2]", 'found [1, 2], expected "balanced" or a table'),
        ("true", 'found True, expected "balanced" or a table'),
    ],
)
def test_other_values_are_answered(value: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load("digits", [f"train.class_weights={value}"])
    assert message in str(caught.value)


def test_the_weights_of_a_recipe_that_is_extended_are_replaced(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    base = folder / "base.toml"
    base.write_text('extends = "digits"\n[train]\nclass_weights = { "n.1" = 2, b = 1 }\n')
    mine = folder / "mine.toml"
    mine.write_text(f'extends = "{base}"\n[train.class_weights]\n"n.2" = 3\n')
    assert load(str(base)).train.class_weights == {"n.1": 2.0, "b": 1.0}
    assert load(str(mine)).train.class_weights == {"n.2": 3.0}
    assert load(str(mine), ["train.class_weights=false"]).train.class_weights is None


def test_balancing_twice_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"together they reverse it: set train\.class_weights=false"):
        load("digits", ["train.class_weights=balanced", "train.sampling=balanced"])
    # Costs of mistakes are another matter.
    load("digits", ["train.class_weights={a=2}", "train.sampling=balanced"])


def test_of_many_classes_the_ends_are_shown() -> None:
    names = [f"n{number}" for number in range(30)]
    weights = [1.0 + (number * 7) % 30 for number in range(30)]
    assert weights_line(weights, names) == "30 classes, from n0 1 to n17 30"
