"""Rules on the training pass at their bounds and fail beyond them, with a fix that passes."""

from typing import Any

import pytest

from convsmith.briefs.check import Check
from convsmith.briefs.checks import judge
from convsmith.briefs.metrics import EpochAccuracy, RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.recipes.loader import load, with_overrides
from convsmith.recipes.schema import Recipe
from helpers.nets import analysis_of

ANALYSIS = analysis_of("C4 / G F10")
RECIPE = load("digits")


def only(brief: dict[str, Any], recipe: Recipe | None = None, metrics: RunMetrics | None = None) -> Check:
    training = recipe.train if recipe else None
    subject = Subject(analysis=ANALYSIS, training=training, metrics=metrics)
    (check,) = judge(Brief.model_validate(brief), subject)
    return check


# A rule that the recipe `digits` keeps, one that it breaks, and the fix of the second.
RULES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"epochs": 30}, {"epochs": 19}, "set train.epochs=19"),
    ({"epochs": [1, 30]}, {"epochs": [1, 15]}, "set train.epochs=15"),
    ({"epochs": [30, 60]}, {"epochs": [31, 60]}, "set train.epochs=31"),
    ({"batch_size": 64}, {"batch_size": 128}, "set train.batch_size=128"),
    ({"batch_size": [64, 128]}, {"batch_size": [1, 63]}, "set train.batch_size=63"),
    ({"optimizer": "adamw"}, {"optimizer": "sgd"}, "set train.optimizer=sgd"),
    (
        {"optimizer": {"name": "adamw", "weight_decay": [0, 0.9]}},
        {"optimizer": {"name": "adamw", "lr": [0.5, 1]}},
        "set train.optimizer.lr=0.5",
    ),
    (
        {"schedule": {"name": "one-cycle", "warmup": 0.3}},
        {"schedule": {"name": "one-cycle", "warmup": [0.166, 0.209], "end_factor": 1}},
        "set train.schedule.warmup=0.209 train.schedule.end_factor=1",
    ),
    (
        {"schedule": "one-cycle"},
        {"schedule": {"name": "step", "every": 6}},
        "set train.schedule=step train.schedule.every=6",
    ),
    ({"l1": 0}, {"l1": True}, "set train.l1=1e-5"),
    ({"l1": [0, 1]}, {"l1": [1e-4, 1e-3]}, "set train.l1=0.0001"),
]


@pytest.mark.parametrize(("kept", "broken", "fix"), RULES, ids=[fix for *_, fix in RULES])
def test_a_rule_of_the_training(kept: dict[str, Any], broken: dict[str, Any], fix: str) -> None:
    assert only(kept, RECIPE).verdict == "pass"
    assert only(kept, RECIPE).fix == ""
    failed = only(broken, RECIPE)
    assert (failed.verdict, failed.fix) == ("fail", fix)
    # The fix is a list of overrides, and passes.
    repaired = with_overrides(RECIPE, fix.removeprefix("set ").split())
    assert only(broken, repaired).verdict == "pass"
    for rule in (kept, broken):
        unknown = only(rule)
        assert (unknown.verdict, unknown.actual) == ("not applicable", "the training is not known")
        assert unknown.required == only(rule, RECIPE).required


def test_the_fix_of_a_batch_size_keeps_microbatches_whole() -> None:
    recipe = with_overrides(RECIPE, ["train.batch_size=96", "train.microbatch_size=48"])
    check = only({"batch_size": 128}, recipe)
    assert check.fix == "set train.batch_size=128 train.microbatch_size=16"
    with_overrides(recipe, check.fix.removeprefix("set ").split())


def test_a_training_that_stops_early_has_the_epochs_that_it_runs() -> None:
    recipe = with_overrides(RECIPE, ["train.stop_after=10"])
    check = only({"epochs": [1, 9]}, recipe)
    assert (check.actual, check.fix) == ("10", "set train.epochs=9 train.stop_after=false")
    assert only({"epochs": 10}, recipe).verdict == "pass"


def epochs(*accuracies: float | None, train: float | None = None) -> RunMetrics:
    measured = tuple(
        EpochAccuracy(epoch=number, train=train, test=each) for number, each in enumerate(accuracies, start=1)
    )
    return RunMetrics(accuracy=accuracies[-1] or 0.0, epochs=measured)


def test_the_epochs_of_a_run_whose_settings_are_not_known() -> None:
    assert only({"epochs": 3}, metrics=epochs(0.5, 0.6, 0.7)).verdict == "pass"
    failed = only({"epochs": [1, 2]}, metrics=epochs(0.5, 0.6, 0.7))
    assert (failed.verdict, failed.actual, failed.fix) == ("fail", "3", "train with epochs 2")


LAST = {"min_accuracy": 0.994, "each_of_last": 3}


def last(metrics: RunMetrics | None) -> Check:
    return judge(Brief.model_validate(LAST), Subject(analysis=ANALYSIS, metrics=metrics))[1]


def test_each_of_the_last_epochs_must_reach_the_accuracy() -> None:
    """The best epoch does not count, nor do those before the last ones."""
    passed = last(epochs(0.5, 0.994, 0.995, 0.996))
    assert (passed.verdict, passed.actual) == ("pass", "99.40%, 99.50%, 99.60%")
    assert passed.required == "at least 99.40% in each"
    for accuracies in ((0.9939, 0.995, 0.996), (0.996, 0.9939, 0.996), (0.996, 0.996, 0.9939)):
        failed = last(epochs(0.999, *accuracies))
        assert failed.verdict == "fail"
        assert failed.fix
    # What misses the limit is never shown equal to it.
    assert last(epochs(0.993999, 0.995, 0.996)).actual == "99.3999%, 99.5000%, 99.6000%"


def test_epochs_that_are_too_few_or_not_known() -> None:
    few = last(epochs(0.999, 0.999))
    assert (few.verdict, few.actual) == ("fail", "99.90%, 99.90%; 2 epochs only")
    assert few.fix == "train for 3 epochs or more"
    for metrics, reason in (
        (None, "not trained"),
        (RunMetrics(accuracy=0.999), "the epochs are not known"),
        (epochs(0.999, None, 0.999), "the epochs are not known"),
    ):
        check = last(metrics)
        assert (check.verdict, check.actual) == ("not applicable", reason)
    # The accuracy at the end is a check of its own.
    first, _ = judge(Brief.model_validate(LAST), Subject(analysis=ANALYSIS, metrics=epochs(0.999, 0.993)))
    assert (first.title, first.verdict) == ("test accuracy", "fail")


def test_the_training_accuracy_after_an_epoch() -> None:
    rule = {"train_accuracy": {"epoch": 2, "min": 0.95}}
    assert only(rule, metrics=epochs(0.9, 0.9, train=0.95)).verdict == "pass"
    failed = only(rule, metrics=epochs(0.99, 0.99, train=0.9499))
    assert (failed.title, failed.verdict) == ("training accuracy after epoch 2", "fail")
    assert failed.actual == "94.99%"
    assert only(rule, metrics=epochs(0.9, train=0.99)).verdict == "not applicable"
    assert only(rule, metrics=epochs(0.9, 0.9)).verdict == "not applicable"
    assert only(rule).actual == "not trained"
