"""Kinds with counts and alternatives, norms, dropout and maps: at their bounds, with fixes that pass."""

import re
from typing import Any

import pytest
from torch import nn

from convsmith.briefs.check import Check
from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load_settings
from convsmith.tracing.trace import trace

IMAGE = (3, 32, 32)


def net(text: str, *settings: str) -> Analysis:
    return analyze_notation(text, IMAGE, load_settings(settings))


def only(brief: dict[str, Any], analysis: Analysis) -> Check:
    (check,) = judge(Brief.model_validate(brief), Subject(analysis=analysis))
    return check


PLAIN = net("C16 C16 M2 C16 / G F10")


@pytest.mark.parametrize(
    ("rule", "verdict", "actual", "required"),
    [
        ("convolution", "pass", "3 layers", "at least 1 layer"),
        ({"kind": "convolution", "count": 3}, "pass", "3 layers", "3 layers"),
        ({"kind": "convolution", "count": [4, 9]}, "fail", "3 layers", "4 to 9 layers"),
        ({"kind": "convolution", "count": [1, 2]}, "fail", "3 layers", "1 to 2 layers"),
        ({"kind": "convolution", "count": [0, 1]}, "fail", "3 layers", "0 to 1 layers"),
        (["dilated", "fully-connected"], "pass", "1 layer", "at least 1 layer"),
        (["dilated", "strided"], "fail", "0 layers", "at least 1 layer"),
        ({"kind": ["max-pooling", "global-average-pooling"], "count": 2}, "pass", "2 layers", "2 layers"),
        ("batch-norm", "pass", "3 layers", "at least 1 layer"),
        ("pointwise", "fail", "0 layers", "at least 1 layer"),
    ],
)
def test_numbers_and_alternatives(rule: Any, verdict: str, actual: str, required: str) -> None:
    check = only({"require": [rule]}, PLAIN)
    assert (check.verdict, check.actual, check.required) == (verdict, actual, required)
    assert bool(check.fix) == (verdict == "fail")


# Nets that break a rule: the fix, applied, passes.
FIXES: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("C16 C16 / G F10", (), {"require": [{"kind": "convolution", "count": [3, 4]}]}),
    ("C16 C16 C16 / G F10", (), {"require": [{"kind": "convolution", "count": [1, 2]}]}),
    ("C16 C16 / G F10", (), {"require": ["pointwise"]}),
    ("C16 C16 / G F10", (), {"require": ["dropout"]}),
    ("C16 C16 C16 / G F10", (), {"require": [{"kind": "dropout", "count": [2, 3]}]}),
    ("C16 P16 C16 / G F10", (), {"forbid": ["pointwise"]}),
    ("C16:o0.1 C16 / G F10", (), {"forbid": ["dropout"]}),
    ("C16 C16 / G F10", (), {"require": [["dilated", "strided"]]}),
    ("C16 C16 / G F10", (), {"require": ["group-norm"]}),
    ("C16 C16 / G F10", ("norm=none",), {"require": ["batch-norm"]}),
    ("C16 C12 / G F10", (), {"norm": "group"}),
    ("C16 C16 / G F10", (), {"norm": "layer"}),
    ("C16 C16 / G F10", ("norm=group",), {"norm": "batch"}),
    ("C16 C16 / G F10", (), {"norm": "instance"}),
    ("C16 C16 / G F10", (), {"dropout": 0.069}),
    ("C16 C16 / G F10", ("dropout=0.2",), {"dropout": [0.01, 0.1]}),
    ("C16:o0.3 C16 / G F10", (), {"dropout": [0.0, 0.1]}),
]


@pytest.mark.parametrize(("text", "settings", "brief"), FIXES, ids=[f"{t} {b}" for t, _, b in FIXES])
def test_the_fix_passes(text: str, settings: tuple[str, ...], brief: dict[str, Any]) -> None:
    check = only(brief, net(text, *settings))
    assert check.verdict == "fail"
    if check.fix.startswith("set "):
        repaired = net(text, *settings, *check.fix.removeprefix("set ").split())
    elif found := re.search(r'"(.+)"', check.fix):
        repaired = net(found[1], *settings)
    else:
        words = re.fullmatch(
            r"(?:change (\S+) to (\S+)|insert (\S+)|remove (\S+)) at character (\d+)", check.fix
        )
        assert words, check.fix
        old, new = words[1] or words[4] or "", words[2] or f" {words[3] or ''} "
        at = int(words[5]) - 1
        assert text[at:].startswith(old)
        repaired = net(text[:at] + new + text[at + len(old) :], *settings)
    assert only(brief, repaired).verdict == "pass"


class Norms(nn.Sequential):
    def __init__(self, *norms: nn.Module) -> None:
        layers = [nn.Conv2d(3, 8, 3), *norms, nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@pytest.mark.parametrize(
    ("norms", "kind", "actual"),
    [
        ([nn.BatchNorm2d(8)], "batch", "1 batch"),
        ([nn.GroupNorm(4, 8)], "group", "1 group"),
        ([nn.GroupNorm(1, 8)], "layer", "1 layer"),
        ([nn.LayerNorm([8, 30, 30])], "layer", "1 layer"),
        ([nn.InstanceNorm2d(8, affine=True)], "instance", "1 instance"),
        ([nn.GroupNorm(1, 8), nn.LayerNorm([8, 30, 30])], "layer", "2 layer"),
    ],
    ids=str,
)
def test_the_kind_of_the_norms_of_a_module(norms: list[nn.Module], kind: str, actual: str) -> None:
    analysis = trace(Norms(*norms), IMAGE)
    for each in ("batch", "group", "layer", "instance"):
        check = only({"norm": each}, analysis)
        assert check.verdict == ("pass" if each == kind else "fail")
        assert check.actual == actual
        assert check.layer == ("" if each == kind else "1")
        assert bool(check.fix) == (each != kind)


def test_mixed_norms_and_none() -> None:
    mixed = only({"norm": "batch"}, trace(Norms(nn.BatchNorm2d(8), nn.GroupNorm(2, 8)), IMAGE))
    assert (mixed.verdict, mixed.actual, mixed.layer) == ("fail", "1 batch, 1 group", "2")
    assert mixed.fix == "replace 2 by BatchNorm2d(8)"
    assert only({"norm": "batch"}, trace(Norms(), IMAGE)).actual == "no norm with an effect"


def test_norms_of_several_widths_are_replaced_by_their_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 16, 3), nn.GroupNorm(2, 16))
    assert only({"norm": "layer"}, trace(net, IMAGE)).fix == "replace 1, 3 by GroupNorm(1, channels)"


def test_every_dropout_has_the_probability() -> None:
    rule = {"dropout": 0.069}
    assert only(rule, trace(Norms(nn.Dropout(0.069), nn.Dropout2d(0.069)), IMAGE)).verdict == "pass"
    failed = only(rule, trace(Norms(nn.Dropout(0.069), nn.Dropout2d(0.1)), IMAGE))
    assert (failed.verdict, failed.actual, failed.layer) == ("fail", "p of 0.069, p of 0.1", "2")
    assert failed.fix == "give 2 p=0.069"
    assert only(rule, trace(Norms(), IMAGE)).actual == "no dropout"
    # A range that contains 0 allows a net without.
    assert only({"dropout": [0, 0.1]}, trace(Norms(), IMAGE)).verdict == "pass"
    assert only({"dropout": [0, 0.1]}, trace(Norms(nn.Dropout(0.0)), IMAGE)).verdict == "pass"


def test_the_map_for_class_activation() -> None:
    analysis = net("C8 C8:s2 C8:s4 / G F10")
    passed = only({"min_map_size": 5}, analysis)
    assert (passed.verdict, passed.actual) == ("pass", "16x16, of block1.conv2")
    assert only({"min_map_size": 4}, analysis).actual == "4x4, of block1.conv3"
    failed = only({"min_map_size": 33}, analysis)
    assert (failed.verdict, failed.actual, failed.required) == ("fail", "4x4", "at least 33x33")
    assert failed.fix


def test_which_parameters_a_limit_means() -> None:
    module = Norms()
    for weight in module[0].parameters():
        weight.requires_grad = False
    analysis = trace(module, IMAGE)
    trainable, every = 8 * 10 + 10, 8 * 10 + 10 + 3 * 8 * 9 + 8

    def verdict(most: int, count: str) -> str:
        checks = judge(
            Brief.model_validate({"max_parameters": most, "parameters_count": count}),
            Subject(analysis=analysis),
        )
        return checks[0].verdict

    assert (verdict(trainable, "trainable"), verdict(trainable - 1, "trainable")) == ("pass", "fail")
    assert (verdict(every, "all"), verdict(every - 1, "all")) == ("pass", "fail")


def test_a_range_of_parameters_is_one_check() -> None:
    count = PLAIN.parameters
    within = only({"min_parameters": count, "max_parameters": count}, PLAIN)
    assert (within.verdict, within.required) == ("pass", f"{count:,} to {count:,}")
    below = only({"min_parameters": count + 1, "max_parameters": count + 2000}, PLAIN)
    assert (below.verdict, below.actual) == ("fail", f"{count:,}")
    assert below.fix.startswith("1 too few; change")
