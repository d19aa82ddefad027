"""The descriptions of net and training."""

from convsmith.exporters.project.descriptions import differences, strategy
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load


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
