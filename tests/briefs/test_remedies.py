"""The suggested changes pass the failed check, fail no other, and are the smallest ones."""

import re

import pytest
from hypothesis import assume, given, settings

from convsmith.briefs.checks import Check, judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import BlockPattern, Brief
from convsmith.briefs.subject import Subject
from convsmith.errors import ConvsmithError
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.tracing.trace import trace
from helpers.nets import analysis_of, examples, notations
from helpers.remedies import EDIT, changed

IMAGE = (3, 32, 32)


def only(net: str, brief: Brief) -> Check:
    (check,) = [
        check for check in judge(brief, Subject(analysis=analysis_of(net))) if check.verdict == "fail"
    ]
    return check


CASES = [
    ("C64 C128:s2 C128 / G F10", {"max_parameters": 180_000}, "C64 C128:s2 C88 / G F10"),
    ("C64 C128:s2 C128 / G F10", {"max_parameters": 20_000}, "C18 C36:s2 C36 / G F10"),
    ("C16 C32:s2 C32 / G F10", {"max_macs": 3_000_000}, "C16 C32:s2 C16 / G F10"),
    ("C8 C8 C8:s2 / G F10", {"min_receptive_field": 9}, "C8 C8:d2 C8:s2 / G F10"),
    ("C8 C8 C8:s2 / G F10", {"min_receptive_field": 60}, None),
    ("C8 C16:s2 / G F10", {"min_parameters": 2_000}, "C8 C24:s2 / G F10"),
    ("C16 C32 C64:s2 / G F10", {"max_activation_bytes": 150_000}, None),
    ("C16 C32 C64:s2 / G F10", {"max_file_bytes": 20_000}, None),
    ("C8:k1:s2 / G F10", {"full_coverage": True}, None),
    ("C8:k3:s3:p0 C8 / G F10", {"full_coverage": True}, None),
    ("C16 C32:s2 / G F10", {"require": ["dilated"]}, None),
    ("C16 C32 / G F10", {"require": ["depthwise-separable"]}, None),
    ("C64 M2 / F10", {"require": ["depthwise-separable"]}, "C64 S64 M2 / F10"),
    ("C16 C32 / G F10", {"require": ["strided"]}, "C16 C32:s2 / G F10"),
    ("C16 C16 / G F10", {"require": ["residual"]}, "C16 +(C16) / G F10"),
    ("C16 C16 / G F10", {"require": ["max-pooling"]}, None),
    ("C16 M2 C16 / G F10", {"require": ["average-pooling"]}, "C16 A2 C16 / G F10"),
    ("C64 M2 / F10", {"require": ["global-average-pooling"]}, "C64 M2 / G F10"),
    ("C16 / G P10", {"require": ["fully-connected"]}, "C16 / G F10"),
    ("C16 P10 / G", {"require": ["fully-connected"]}, None),
    ("C16 M2 C32 M2 / G F10", {"forbid": ["max-pooling"]}, "C16 A2 C32 A2 / G F10"),
    ("C16 M2 C32 / G F10", {"forbid": ["max-pooling", "average-pooling"]}, None),
    ("C16 S32 S32:s2 / G F10", {"forbid": ["depthwise-separable"]}, "C16 C32 C32:s2 / G F10"),
    ("C16:d2 C32:d4 / G F10", {"forbid": ["dilated"]}, "C16 C32 / G F10"),
    ("C16:s2 C32:s2 / G F10", {"forbid": ["strided"]}, "C16 C32 / G F10"),
    ("C16 +(C16 C16) +(C16) / G F10", {"forbid": ["residual"]}, None),
    ("C16 +(C16 C16:anone):arelu / G F10", {"forbid": ["residual"]}, "C16 C16 C16:anone / G F10"),
    ("C16 / G F10", {"forbid": ["global-average-pooling"]}, "C16 / F10"),
    ("C16 / G F10", {"forbid": ["fully-connected"]}, "C16 / G P10"),
    ("C16 C16 / C32 / G F10", {"blocks": BlockPattern(count=3)}, "C16 / C16 / C32 / G F10"),
    ("C16 / C16 / C32 / G F10", {"blocks": BlockPattern(count=2)}, None),
    (
        "C16 C16 / C32 C32 C32 / G F10",
        {"blocks": BlockPattern(count=2, convolutions=2)},
        "C16 C16 / C32 C32 / G F10",
    ),
    (
        "C16 C16 / C32 / G F10",
        {"blocks": BlockPattern(count=2, shrink="strided-or-dilated")},
        "C16 C16:d2 / C32 / G F10",
    ),
]


@pytest.mark.parametrize(
    ("net", "brief", "expected"), CASES, ids=[f"{net} {brief}" for net, brief, _ in CASES]
)
def test_every_fix_of_a_notation_passes_its_check(
    net: str, brief: dict[str, object], expected: str | None
) -> None:
    rules = Brief.model_validate(brief)
    fix = only(net, rules).fix
    fixed = changed(net, fix)
    assert fixed != net, fix
    assert {check.verdict for check in judge(rules, Subject(analysis=analysis_of(fixed)))} == {"pass"}, fix
    if expected is not None:
        assert " ".join(fixed.split()) == expected


@given(net=notations())
@settings(max_examples=examples(200), deadline=None)
def test_fixes_of_random_nets_pass_and_break_nothing(net: str) -> None:
    try:
        analysis = analyze_notation(net, (2, 32, 32))
    except ConvsmithError:
        assume(False)
    brief = Brief.model_validate(
        {
            "max_parameters": max(1, analysis.parameters * 3 // 4),
            "min_receptive_field": (analysis.receptive_field or 1) + 4,
            "require": ("dilated", "depthwise-separable"),
        }
    )
    before = judge(brief, Subject(analysis=analysis))
    failed = {check.title for check in before if check.verdict == "fail"}
    for check in before:
        if check.verdict == "fail" and (re.search(EDIT, check.fix) or '"' in check.fix):
            after = judge(brief, Subject(analysis=analyze_notation(changed(net, check.fix), (2, 32, 32))))
            still = {other.title for other in after if other.verdict == "fail"}
            assert check.title not in still
            assert still <= failed


def test_one_width_less_would_not_do() -> None:
    """The width of the narrowed layer is the largest that passes, in steps of eight."""
    brief = Brief(max_parameters=180_000)
    fixed = changed("C64 C128:s2 C128 / G F10", only("C64 C128:s2 C128 / G F10", brief).fix)
    assert analysis_of(fixed).parameters <= 180_000
    for width in range(8, 129, 8):
        for net in (
            f"C64 C{width}:s2 C128 / G F10",
            f"C64 C128:s2 C{width} / G F10",
            f"C{min(width, 64)} C128:s2 C128 / G F10",
        ):
            parameters = analysis_of(net).parameters
            # No narrowing of one layer to a half at least leaves more parameters within the limit.
            assert not analysis_of(fixed).parameters < parameters <= 180_000 or net.startswith("C8 ")


def test_a_fix_does_not_break_another_check() -> None:
    brief = Brief(forbid=("max-pooling", "average-pooling", "strided"), max_parameters=200_000)
    fix = only("C16 M2 C32 / G F10", brief).fix
    assert changed("C16 M2 C32 / G F10", fix).split() == ["C16", "C32", "/", "G", "F10"]


def test_a_module_gets_advice_in_the_words_of_pytorch() -> None:
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7200, 10))
    checks = judge(load_brief("course-cifar10"), Subject(analysis=trace(net, IMAGE)))
    fixes = {check.title: check.fix for check in checks if check.verdict == "fail"}
    assert not isinstance(trace(net, IMAGE), SpecAnalysis)
    assert "groups" in fixes["depthwise-separable"]
    assert "dilation=2" in fixes["dilated"]
    assert "AdaptiveAvgPool2d" in fixes["global-average-pooling"]
    # No layer of the notation in a message about a module.
    assert not [fix for fix in fixes.values() if re.search(r"\b[CSGF]\d", fix)]
