"""The descriptions of net and training."""

import pytest

from convsmith.data.dataset import CANONICAL
from convsmith.exporters.project.descriptions import differences, strategy
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load
from helpers.projects import RECIPES


def test_the_teacher_is_mentioned() -> None:
    taught = load("digits", ["train.teacher=mnist-5k", "train.distillation.temperature=2"])
    assert any(
        "from a trained teacher, in addition to the labels (weight 0.9, temperature 2)" in line
        for line in strategy(taught)
    )
    analysis = analyze_notation("C8 / G F10", (1, 8, 8))
    assert any("learns from the labels only" in line for line in differences(taught, analysis))
    plain = load("digits")
    assert not any("teacher" in line for line in (*strategy(plain), *differences(plain, analysis)))


@pytest.mark.parametrize("name", RECIPES)
def test_no_sentence_names_convsmith(name: str) -> None:
    """On processors with bf16 a sentence explained how convsmith computes gradients."""
    recipe = load(name, ["train.precision=bf16"])
    shape = CANONICAL[recipe.data.source].info.image_shape
    analysis = analyze_notation(recipe.notation.net, shape, recipe.notation)
    sentences = [*strategy(recipe), *differences(recipe, analysis, bf16_off_cpu=True)]
    assert any("bfloat16" in each for each in sentences)
    assert not [each for each in sentences if "convsmith" in each]


def test_the_loss_has_its_penalty() -> None:
    first, *_ = strategy(load("digits", ["train.l1=1e-5", "train.label_smoothing=0.1"]))
    assert first.startswith(
        "Cross-entropy loss, label smoothing 0.1, plus 1e-5 times the L1 norm of the weights; "
    )
    assert "L1" not in strategy(load("digits"))[0]
