"""Layers count by their effect: nets that hand-written checks of assignments judge wrongly."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from convsmith.briefs.check import Check
from convsmith.briefs.checks import judge
from convsmith.briefs.effects import (
    hidden_tensors,
    of_another_kind,
    parameters_text,
    without_effect,
)
from convsmith.briefs.schema import Brief
from convsmith.briefs.structure import LayerKind
from convsmith.briefs.subject import Subject
from convsmith.tracing.trace import trace
from helpers import course_faults
from helpers.course_faults import FAULTS, OTHERS, Fault

IMAGE = (1, 28, 28)


def verdict(net: nn.Module, brief: dict[str, object], title: str) -> Check:
    checks = judge(Brief.model_validate(brief), Subject(analysis=trace(net, IMAGE)))
    return next(check for check in checks if check.title == title)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.net.__name__}-{fault.title}")
def test_the_verdict_is_right_where_a_hand_written_check_is_wrong(fault: Fault) -> None:
    net = fault.net()
    net(torch.zeros(2, *IMAGE))
    assert fault.check(net) is not fault.passes
    check = verdict(net, fault.brief, fault.title)
    assert (check.verdict == "pass") is fault.passes, check
    assert fault.words in check.actual
    if fault.where:
        assert fault.where in check.actual
        assert check.layer == fault.where
        assert check.fix.startswith(f"{fault.where}: ")


@pytest.mark.parametrize(("net", "kind", "passes"), OTHERS, ids=lambda each: getattr(each, "__name__", each))
def test_other_layers_count_by_their_effect(net: type[nn.Module], kind: str, passes: bool) -> None:
    check = verdict(net(), {"require": [kind]}, kind)
    assert (check.verdict == "pass") is passes


def test_the_line_of_the_layer_is_named() -> None:
    check = verdict(course_faults.ZeroDropout(), {"require": ["dropout"]}, "dropout")
    lines, first = inspect.getsourcelines(course_faults.ZeroDropout)
    line = first + next(index for index, each in enumerate(lines) if "nn.Dropout(p=0)" in each)
    assert check.location is not None
    assert (check.location.file, check.location.line) == ("tests/helpers/course_faults.py", line)
    assert f"drop ({check.location}) has p = 0" in check.actual
    assert check.fix == "drop: give it p = 0.1"


def test_the_change_satisfies_the_brief() -> None:
    brief = {"require": ["dropout"], "dropout": [0.02, 0.05]}
    assert verdict(course_faults.ZeroDropout(), brief, "dropout").fix == "drop: give it p = 0.05"


class UnusedFunction(course_faults.Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nn.functional.dropout(x, 0.1, self.training)
        return torch.as_tensor(super().forward(x))


def test_an_unused_function_is_no_attribute_of_the_net() -> None:
    check = verdict(UnusedFunction(), {"require": ["dropout"]}, "dropout")
    assert (check.verdict, check.fix) == ("fail", "Dropout: use what it returns")


class Spare(course_faults.Net):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(100, 100)

        self.table = nn.Parameter(torch.zeros(3_000))


def test_weights_that_are_never_used_are_among_the_largest() -> None:
    check = verdict(Spare(), {"max_parameters": 10_000}, "parameters")
    assert "the largest layers are spare (10,100, never called), table (3,000, never used), " in check.fix
    assert "(0)" not in check.fix


def test_too_many_layers_of_a_kind() -> None:
    fix = verdict(Norms(), {"require": [{"kind": "convolution", "count": 1}]}, "convolution").fix
    assert fix == "1 layer too many: leave it out"


class Norms(course_faults.Net):
    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(10)


def test_a_norm_belongs_after_the_convolution_of_its_number() -> None:
    first, second = without_effect(trace(Norms(), IMAGE), "batch-norm")
    assert (first.layer, first.fix) == ("bn1", "call it after conv1")
    assert (second.layer, second.fix) == ("bn2", "call it after conv2")


@pytest.mark.parametrize(
    ("net", "advice"),
    [
        (nn.Sequential(course_faults.conv(1, 8), nn.AvgPool2d(2)), "has a window of 2x2 on a map of 28x28"),
        (nn.Sequential(course_faults.conv(1, 8), nn.AdaptiveMaxPool2d(1)), "takes the maximum of the map"),
        (nn.Sequential(nn.Conv2d(1, 8, 28), nn.AdaptiveAvgPool2d(1)), "has no effect on a map of 1x1"),
    ],
)
def test_what_resembles_a_global_average_pool(net: nn.Module, advice: str) -> None:
    (finding,) = of_another_kind(trace(net, IMAGE), "global-average-pooling")
    assert (finding.layer, finding.what) == ("1", advice)


@pytest.mark.parametrize(
    ("net", "kind", "advice"),
    [
        (nn.Conv2d(1, 8, 28), "fully-connected", None),
        (
            nn.Sequential(nn.Conv2d(1, 8, 28), nn.Conv2d(8, 10, 1)),
            "fully-connected",
            (
                "1 is a convolution of 1x1 on a map of 1x1, which computes the same: "
                "make it nn.Linear(8, 10), after x.flatten(1)"
            ),
        ),
        (
            nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 1)),
            "depthwise-separable",
            "1 has 2 groups for 8 channels: give it groups=8, and a convolution of 1x1 after it",
        ),
    ],
)
def test_what_resembles_other_kinds(net: nn.Module, kind: LayerKind, advice: str | None) -> None:
    findings = of_another_kind(trace(net, IMAGE), kind)
    assert [each.advice for each in findings] == ([advice] if advice else [])


def test_an_average_of_a_part_of_the_map_is_not_global() -> None:
    net = nn.Sequential(nn.Conv2d(1, 10, 25), nn.AvgPool2d(3), nn.Flatten())
    check = verdict(net, {"require": ["global-average-pooling"]}, "global-average-pooling")
    assert check.actual == "0 layers; 1 has a window of 3x3 on a map of 4x4"
    assert check.fix == "1: make it nn.AdaptiveAvgPool2d(1)"


class Normalised(course_faults.Net):
    """It keeps mean and deviation of the channels in attributes, which are settings and no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = torch.tensor([[[0.13]], [[0.2]]]), torch.tensor([[[0.3]], [[0.4]]])

    def features(self, images: torch.Tensor) -> Any:
        maps = (images - self.mean) / self.std
        return super().features(maps[:, :1])


def test_a_few_numbers_are_settings() -> None:
    analysis = trace(Normalised(), IMAGE)
    assert {(each.name, each.size) for each in analysis.hidden} == {("mean", 2), ("std", 2)}
    assert hidden_tensors(analysis) == ()


def test_parameters_are_counted_apart() -> None:
    analysis = trace(course_faults.Frozen(), IMAGE)
    trainable = 80 + 730
    frozen = 200 * (8 * 9 + 1) + 8 * 201
    assert (analysis.trainable, sum(count for _, count in analysis.frozen)) == (trainable, frozen)
    assert parameters_text(analysis) == f"{trainable} trainable, {frozen:,} frozen"
    lists = trace(course_faults.PlainList(), IMAGE)
    assert parameters_text(lists) == f"{trainable} trainable, {60 * 73 + 8 * 541:,} in plain lists"
    hidden = trace(course_faults.PlainAttribute(), IMAGE)
    assert parameters_text(hidden) == f"{trainable} trainable; not counted: {64 * 49:,} in hidden tensors"
