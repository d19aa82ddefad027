"""Each point of a brief passes at its bound and fails beyond it, with a remedy."""

from collections.abc import Mapping

import pytest

from convsmith.briefs.checks import Check, RunMetrics, judge
from convsmith.briefs.schema import Brief
from convsmith.briefs.structure import LayerKind, count_kind
from convsmith.net.arithmetic import analyze
from convsmith.net.notation import parse
from convsmith.net.plan import plan

NET = "C16 C16:s2 / G F10"
ANALYSIS = analyze(plan(parse(NET), (3, 32, 32)))


def only(brief: Mapping[str, object], **values: object) -> Check:
    (check,) = judge(Brief.model_validate(brief), ANALYSIS, **values)  # type: ignore[arg-type]
    return check


@pytest.mark.parametrize(
    ("field", "bound", "step"),
    [("max_parameters", 2970, -1), ("max_macs", ANALYSIS.macs, -1), ("min_receptive_field", 5, 1)],
)
def test_bounds_are_inclusive(field: str, bound: int, step: int) -> None:
    assert only({field: bound}).verdict == "pass"
    assert only({field: bound}).fix == ""
    failed = only({field: bound + step})
    assert failed.verdict == "fail"
    assert failed.fix


def test_the_difference_and_the_largest_layers_are_named() -> None:
    check = only({"max_parameters": 2000})
    assert check.fix == (
        "970 over; the largest layers are C16:s2 (2,304), C16 (432), F10 (170); "
        "narrow C16 to C8 at character 1"
    )
    assert (check.actual, check.required) == ("2,970", "at most 2,000")


@pytest.mark.parametrize(
    ("kind", "net", "count"),
    [
        ("depthwise-separable", "S8 S8*2 / G F2", 3),
        ("dilated", "C8:d2 S8:d3 M2:d2:s1 C8 / G F2", 2),
        ("strided", "C8:s2 P8:s2 M2 / G F2", 2),
        ("residual", "+(C3) +(C3)*2 / G F2", 3),
        ("max-pooling", "C8 M2 A2 / G F2", 1),
        ("average-pooling", "C8 M2 A2 / G F2", 1),
        ("global-average-pooling", "C8 A2 / G F2", 1),
        ("fully-connected", "C8 / G F4 F2", 2),
    ],
)
def test_kinds_are_counted(kind: LayerKind, net: str, count: int) -> None:
    assert count_kind(analyze(plan(parse(net), (3, 16, 16))).rows, kind) == count
    assert count_kind(analyze(plan(parse("P2 A16"), (3, 16, 16))).rows[:1], kind) == 0


def test_required_and_forbidden_kinds() -> None:
    assert only({"require": ["strided"]}).verdict == "pass"
    missing = only({"require": ["dilated"]})
    assert (missing.verdict, missing.actual) == ("fail", "0 layers")
    assert ":d2" in missing.fix
    assert only({"forbid": ["max-pooling"]}).verdict == "pass"
    assert only({"forbid": ["fully-connected"]}).verdict == "fail"


def test_augmentations_that_the_recipe_must_name() -> None:
    brief = {"augmentations": ["CoarseDropout"]}
    assert only(brief, augmentations=("CoarseDropout",)).verdict == "pass"
    assert only(brief, augmentations=("HorizontalFlip",)).verdict == "fail"


def test_accuracy_is_not_applicable_before_training() -> None:
    assert only({"min_accuracy": 0.98}).verdict == "not applicable"
    assert only({"min_accuracy": 0.98}, metrics=RunMetrics(accuracy=0.98)).verdict == "pass"
    assert only({"min_accuracy": 0.98}, metrics=RunMetrics(accuracy=0.9799)).verdict == "fail"


def test_calibration_is_judged_where_it_was_measured() -> None:
    brief = {"max_calibration_error": 0.05}
    assert only(brief).actual == "not trained"
    assert only(brief, metrics=RunMetrics(accuracy=0.9)).actual == "not measured"
    assert only(brief, metrics=RunMetrics(accuracy=0.9, calibration_error=0.05)).verdict == "pass"
    failed = only(brief, metrics=RunMetrics(accuracy=0.9, calibration_error=0.051))
    assert (failed.verdict, failed.actual, failed.required) == ("fail", "5.10%", "at most 5.00%")


def test_an_empty_brief_checks_nothing() -> None:
    assert judge(Brief(), ANALYSIS) == ()
