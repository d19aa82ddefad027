"""Each check of a brief passes at its bound and fails beyond it, with a fix."""

from collections.abc import Mapping

import pytest
from torch import nn

from convsmith.briefs.checks import Check, judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import BlockPattern, Brief
from convsmith.briefs.subject import Subject
from convsmith.data.augment.transforms.coarse_dropout import CoarseDropout
from convsmith.data.augment.transforms.horizontal_flip import HorizontalFlip
from convsmith.net.arithmetic import analyze
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.recipes.loader import load
from convsmith.tracing.trace import trace
from helpers.nets import analysis_of

IMAGE = (3, 32, 32)


NET = "C16 C16:s2 / G F10"


ANALYSIS = analyze(plan(parse(NET), (3, 32, 32)))


def only(brief: Mapping[str, object], **values: object) -> Check:
    (check,) = judge(Brief.model_validate(brief), Subject(analysis=ANALYSIS, **values))  # type: ignore[arg-type]
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


def test_the_fix_names_the_largest_layers() -> None:
    check = only({"max_parameters": 2000})
    assert check.fix == (
        "970 over; the largest layers are C16:s2 (2,304), C16 (432), F10 (170); "
        "change C16:s2 to C8:s2 at character 5"
    )
    assert (check.actual, check.required) == ("2,970", "at most 2,000")


def test_required_and_forbidden_kinds() -> None:
    assert only({"require": ["strided"]}).verdict == "pass"
    missing = only({"require": ["dilated"]})
    assert (missing.verdict, missing.actual) == ("fail", "0 layers")
    assert ":d2" in missing.fix
    assert only({"forbid": ["max-pooling"]}).verdict == "pass"
    assert only({"forbid": ["fully-connected"]}).verdict == "fail"


def test_required_augmentations() -> None:
    brief = {"augmentations": ["CoarseDropout"]}
    assert only(brief).verdict == "not applicable"
    assert only(brief, augmentations=(CoarseDropout(name="CoarseDropout"),)).verdict == "pass"
    missing = only(brief, augmentations=(HorizontalFlip(name="HorizontalFlip"),))
    assert (missing.verdict, missing.actual) == ("fail", "not named")
    assert missing.fix == 'add a table [[augment.transforms]] with name = "CoarseDropout"'


def test_accuracy_is_not_applicable_before_training() -> None:
    assert only({"min_accuracy": 0.98}).verdict == "not applicable"
    assert only({"min_accuracy": 0.98}, metrics=RunMetrics(accuracy=0.98)).verdict == "pass"
    assert only({"min_accuracy": 0.98}, metrics=RunMetrics(accuracy=0.9799)).verdict == "fail"


def test_calibration_is_checked_if_it_was_measured() -> None:
    brief = {"max_calibration_error": 0.05}
    assert only(brief).actual == "not trained"
    assert only(brief, metrics=RunMetrics(accuracy=0.9)).actual == "not measured"
    assert only(brief, metrics=RunMetrics(accuracy=0.9, calibration_error=0.05)).verdict == "pass"
    failed = only(brief, metrics=RunMetrics(accuracy=0.9, calibration_error=0.051))
    assert (failed.verdict, failed.actual, failed.required) == ("fail", "5.10%", "at most 5.00%")


def test_an_empty_brief_checks_nothing() -> None:
    assert judge(Brief(), Subject(analysis=ANALYSIS)) == ()


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("cifar10-classic", []),
        ("cifar10-rmsprop", []),
        ("cifar10-dilated", []),
        # Its holes have 8x8 pixels.
        ("cifar10-sprint", ["augmentation CoarseDropout"]),
        ("cifar10-200k", ["augmentation CoarseDropout"]),
    ],
)
def test_the_course_brief_on_recipes(name: str, failing: list[str]) -> None:
    recipe = load(name)
    analysis = analyze(plan(parse(recipe.notation.net), IMAGE, recipe.notation))
    metrics = RunMetrics(accuracy=0.85)
    brief = load_brief("course-cifar10")
    checks = judge(brief, Subject(analysis=analysis, augmentations=recipe.augment.all, metrics=metrics))
    assert [check.title for check in checks if check.verdict != "pass"] == failing
    assert len(checks) == 10
    checks = judge(
        recipe.brief, Subject(analysis=analysis, augmentations=recipe.augment.all, metrics=metrics)
    )
    assert {check.verdict for check in checks} == {"pass"}


def test_the_mnist_net_fails_many_checks_of_the_course_brief() -> None:
    model = load("mnist-classic").notation
    analysis = analyze(plan(parse(model.net), (1, 28, 28), model))
    checks = judge(
        load_brief("course-cifar10-blocks"),
        Subject(analysis=analysis, augmentations=load("mnist-classic").augment.all),
    )
    assert [check.title for check in checks if check.verdict == "fail"] == [
        "parameters",
        "receptive field",
        "depthwise-separable",
        "dilated",
        "global-average-pooling",
        "no max-pooling",
        "blocks of convolutions",
        "convolutions in each block",
        "stride or dilation at block ends",
        "augmentation HorizontalFlip",
        "augmentation CoarseDropout",
    ]


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("cifar10-classic", []),
        ("cifar10-rmsprop", ["convolutions in each block"]),
        ("cifar10-sprint", ["blocks of convolutions", "convolutions in each block"]),
    ],
)
def test_the_block_pattern_of_the_course(name: str, failing: list[str]) -> None:
    model = load(name).notation
    analysis = analyze(plan(parse(model.net), IMAGE, model))
    brief = Brief(blocks=load_brief("course-cifar10-blocks").blocks)
    assert [
        check.title for check in judge(brief, Subject(analysis=analysis)) if check.verdict == "fail"
    ] == failing


def test_a_traced_net_passes_the_pattern_too() -> None:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        )

    net = nn.Sequential(block(3, 8), block(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    brief = Brief(blocks=BlockPattern(count=2, convolutions=2, shrink="strided-or-dilated"))
    assert {check.verdict for check in judge(brief, Subject(analysis=trace(net, IMAGE)))} == {"pass"}


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("max_activation_bytes", analysis_of("C16 C16:s2 / G F10").peak_activation_bytes),
        ("max_file_bytes", analysis_of("C16 C16:s2 / G F10").file_bytes["fp32"]),
    ],
)
def test_memory_bounds_are_inclusive(field: str, number: int) -> None:
    for bound, verdict in ((number, "pass"), (number - 1, "fail")):
        (check,) = judge(
            Brief.model_validate({field: bound}), Subject(analysis=analysis_of("C16 C16:s2 / G F10"))
        )
        assert check.verdict == verdict
        assert bool(check.fix) == (verdict == "fail")


def test_coverage_of_the_image() -> None:
    (check,) = judge(Brief(full_coverage=True), Subject(analysis=analysis_of("C8:k1:s2 / G F10")))
    assert (check.verdict, check.actual) == ("fail", "16 rows and 16 columns are missed")
    (check,) = judge(Brief(full_coverage=True), Subject(analysis=analysis_of("C8:s2 / G F10")))
    assert check.verdict == "pass"
    # The layer before it fills the gaps of a dilation.
    assert analysis_of("C8:d3:s3:p0 / G F10").uncovered == (21, 21)
    assert analysis_of("C8 C8:d3:s3:p0 / G F10").uncovered == (0, 0)
    assert analysis_of("C8:k2:d4:s8:p0 / G F10").uncovered == (24, 24)


def test_the_dilated_recipe_has_no_stride() -> None:
    """Every map before global average pooling has the size of the image."""
    recipe = load("cifar10-dilated")
    analysis = analyze(plan(parse(recipe.notation.net), IMAGE, recipe.notation))
    maps = [
        row.out_shape[1:]
        for row in analysis.rows[: [row.operation for row in analysis.rows].index("GlobalAvgPool2d")]
    ]
    assert set(maps) == {(32, 32)}
    assert {
        check.verdict for check in judge(load_brief("course-cifar10-dilated"), Subject(analysis=analysis))
    } == {
        "pass",
        "not applicable",
    }
    strided = analyze(plan(parse(load("cifar10-200k").notation.net), IMAGE))
    failed = [
        check.title
        for check in judge(load_brief("course-cifar10-dilated"), Subject(analysis=strided))
        if check.verdict == "fail"
    ]
    assert failed == ["no strided"]


@pytest.mark.parametrize(
    ("accuracy", "actual", "required"),
    [
        (0.85, "85.00%", "at least 85.00%"),
        (0.849983, "84.998%", "at least 85.000%"),
        (0.9, "90.00%", "at least 85.00%"),
    ],
)
def test_a_metric_is_never_shown_equal_to_a_limit_that_it_misses(
    accuracy: float, actual: str, required: str
) -> None:
    check = only({"min_accuracy": 0.85}, metrics=RunMetrics(accuracy=accuracy))
    assert (check.actual, check.required) == (actual, required)


def test_a_limit_is_shown_in_full() -> None:
    assert only({"min_accuracy": 0.99995}).required == "at least 99.995%"


def test_a_dilation_beyond_the_map_does_not_pass_and_gets_a_fix() -> None:
    net = analysis_of("C16 C16:d40 / G F10")
    (check,) = judge(Brief.model_validate({"require": ["dilated"]}), Subject(analysis=net))
    assert (check.verdict, check.actual) == (
        "fail",
        "0 layers; C16:d40 has no effect: one position of the map is in its window",
    )
    assert check.fix == "change C16:d40 to C16:d8 at character 5"


PATTERN = {"blocks": {"count": 3, "convolutions": 1, "shrink": "strided-or-dilated"}}


def test_one_block_has_no_end_that_shrinks() -> None:
    """The fixes, one after the other, lead to the pattern."""
    net = "C16 C16 C16 / G F10"
    first = judge(Brief.model_validate(PATTERN), Subject(analysis=analysis_of(net)))
    assert [(check.verdict, check.actual) for check in first] == [
        ("fail", "1"),
        ("fail", "3"),
        ("fail", "1 block"),
    ]
    assert first[0].fix == 'write the net as "C16 / C16 / C16 / G F10"'
    second = judge(Brief.model_validate(PATTERN), Subject(analysis=analysis_of("C16 / C16 / C16 / G F10")))
    assert [check.verdict for check in second] == ["pass", "pass", "fail"]
    third = second[2].fix.removeprefix('write the net as "').rstrip('"')
    checks = judge(Brief.model_validate(PATTERN), Subject(analysis=analysis_of(third)))
    assert [check.verdict for check in checks] == ["pass", "pass", "pass"]


def test_fixes_of_blocks_in_a_module_are_in_the_words_of_pytorch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    checks = judge(Brief.model_validate(PATTERN), Subject(analysis=trace(net, IMAGE)))
    fixes = [check.fix for check in checks if check.verdict == "fail"]
    assert len(fixes) == 2
    assert all("a child module of the net" in fix for fix in fixes)
