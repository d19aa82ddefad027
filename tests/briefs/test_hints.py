"""Hints on notations and traced modules."""

import pytest
from torch import nn

from convsmith.briefs.hints import hints
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.module import build
from convsmith.tracing.trace import trace
from helpers.nets import analysis_of


@pytest.mark.parametrize(
    ("net", "values", "topic", "layer"),
    [
        ("C8:k9*4 C8 / G F10", {}, "beyond the image", "C8 (block1.conv5)"),
        ("C8 C8:d40 / G F10", {}, "one tap on the map", "C8:d40 (block1.conv2)"),
        ("C64 C8:s4 / G F10", {}, "bottleneck", "C8:s4 (block1.conv2)"),
        ("C12 C16 / G F10", {}, "vector lanes", "C12 (block1.conv1)"),
        ("C8:o0.1 C8 / G F10", {}, "dropout before batch norm", "C8:o0.1 (block1.dropout1)"),
        ("C8 / G F10", {"bias": True}, "bias before batch norm", "C8 (block1.conv1)"),
    ],
)
def test_hints(net: str, values: dict[str, object], topic: str, layer: str) -> None:
    analysis = analysis_of(net, **values)
    first = next(hint for hint in hints(analysis) if hint.topic == topic)
    assert first.layer == layer
    assert topic in {hint.topic for hint in hints(trace_of(analysis))}


def trace_of(analysis: SpecAnalysis) -> Analysis:
    net = build(analysis.plan)
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "Dropout":
                setattr(parent, name, nn.Dropout(0.1))
    return trace(net, analysis.input_shape)


def test_a_clean_net_has_no_hints() -> None:
    assert hints(analysis_of("C16 C16:s2 C32 / G F10")) == ()
