"""The analysis of traced modules against the arithmetic, gradients and published figures."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import Tensor, nn

from convsmith.errors import ShapeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.net.tables import totals
from convsmith.tracing.trace import trace
from helpers import measured, modules
from helpers.nets import examples, net_settings, notations

IMAGE = (3, 32, 32)


def conv(inputs: int, outputs: int, kernel: int = 3, **values: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **values)


def test_published_figures() -> None:
    # He et al. report 0.27 M parameters; 40.8 M multiply-adds, which projections raise a little.
    assert trace(modules.ResNet20(), IMAGE).parameters == 272_474
    assert trace(modules.ResNet20(), IMAGE).macs == pytest.approx(40.8e6, rel=0.01)


def assert_equal(spec: Analysis, traced: Analysis) -> None:
    assert traced.parameters == spec.parameters
    assert traced.trainable == spec.trainable
    assert (traced.buffers, traced.buffer_bytes) == (spec.buffers, spec.buffer_bytes)
    assert traced.macs == spec.macs
    assert traced.peak_activation_bytes == spec.peak_activation_bytes
    assert traced.training_bytes == spec.training_bytes
    assert traced.uncovered == spec.uncovered
    assert traced.final_receptive_field == spec.final_receptive_field
    windows = [
        [
            (row.kernel, row.stride, row.dilation, row.padding, row.macs, row.in_field, row.out_field)
            for row in each.rows
            if row.kernel and row.in_field.axes
        ]
        for each in (spec, traced)
    ]
    assert windows[0] == windows[1]
    joins = [[row.notes for row in each.rows if row.operation == "Add"] for each in (spec, traced)]
    assert joins[0] == joins[1]


def test_instance_norm_on_a_map_of_one_row() -> None:
    config = NetSettings(norm="instance", order="conv-activation-norm")
    planned = plan(parse("P2:s2 P2:s2 / C4 C4:k5:d3:p2 / P10 G"), (2, 36, 40), config)
    assert_equal(analyze(planned), trace(build(planned), (2, 36, 40)))


@settings(max_examples=examples(1000), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_arithmetic_equals_tracing(text: str, config: NetSettings) -> None:
    try:
        planned = plan(parse(text), (2, 36, 40), config)
    except ShapeError:
        assume(condition=False)
        raise
    assert_equal(analyze(planned), trace(build(planned), (2, 36, 40)))


@settings(max_examples=examples(1000), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations())
def test_arithmetic_equals_gradients(text: str) -> None:
    body = text.rsplit(" / ", 1)[0]
    size = 97
    config = NetSettings(norm="none", activation="none", bias=False)
    try:
        planned = plan(parse(f"{body} / G F10"), (2, size, size), config)
    except ShapeError:
        assume(condition=False)
        raise
    analysis = analyze(planned)
    (axis, _) = analysis.final_receptive_field.axes
    count = next(row for row in analysis.rows if row.operation == "GlobalAvgPool2d").in_shape[1]
    position = count // 2
    first = axis.start + position * axis.jump
    assume(first >= 0)
    assume(first + axis.size <= size)
    features = measured.positive(build(planned)[:-1])
    mask = measured.covered_pixels(features, torch.ones(1, 2, size, size), (position, position))
    for across in (0, 1):
        places = mask.any(across).nonzero().ravel().tolist()
        assert (places[0], places[-1]) == (first, first + axis.size - 1)


@pytest.mark.parametrize("text", ["+(C8:k4:s2:p1) / G F10", "C8 +(C8:k2:s3:p0 C8)*2 / G F10"])
def test_misaligned_branches_in_notation_and_module(text: str) -> None:
    planned = plan(parse(text), (2, 36, 36), NetSettings())
    spec = analyze(planned)
    assert_equal(spec, trace(build(planned), (2, 36, 36)))
    assert any("are misaligned" in note for row in spec.rows for note in row.notes)


def test_shared_weights_are_counted_once_and_named() -> None:
    analysis = trace(modules.SharedWeights(), IMAGE)
    notes = [note for row in analysis.rows for note in row.notes]
    assert notes == ["shares the weights of again, where they are counted"] * 2 + [
        "shares the weights of narrow, where they are counted"
    ]


def test_unused_parameters_are_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    net.register_parameter("spare", nn.Parameter(torch.zeros(7)))
    analysis = trace(net, IMAGE)
    assert analysis.unused == (("spare", 7),)
    assert analysis.parameters == 112 + 7
    assert "Parameters that no operation uses: spare (7)" in totals(analysis)


class Gate(nn.Module):
    """A layer that is not in `torch.nn`."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * torch.tanh(self.scale * maps)


def test_unregistered_layers() -> None:
    net = nn.Sequential(conv(3, 8), nn.Identity(), Gate(), nn.Softshrink(), nn.Mish(), conv(8, 8, stride=2))
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (5, 5)
    assert analysis.parameters == sum(each.numel() for each in net.parameters())
    assert [row.operation for row in analysis.rows][:3] == ["Conv2d", "Identity", "mul"]


def test_the_receptive_field_may_exceed_the_image() -> None:
    net = nn.Sequential(conv(3, 8, 7, padding=3), conv(8, 8, 7, padding=3, dilation=3))
    assert (
        trace(net, (3, 16, 16)).final_receptive_field.sizes
        == trace(net, (3, 64, 64)).final_receptive_field.sizes
        == (25, 25)
    )


def test_frozen_parameters_are_not_trainable() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1))
    net[0].requires_grad_(requires_grad=False)
    assert (trace(net, IMAGE).parameters, trace(net, IMAGE).trainable) == (132, 20)
