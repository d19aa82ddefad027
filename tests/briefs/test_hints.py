"""Hints on notations and traced modules."""

import pytest
from torch import Tensor, nn
from torch.nn import functional

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


class Careless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.idle = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> Tensor:
        return functional.dropout(self.first(images), 0.1)


def test_what_a_module_calls_in_evaluation_and_what_never() -> None:
    never, dropout = hints(trace(Careless(), (3, 8, 8)))[:2]
    assert (never.topic, never.layer) == ("never called", "idle")
    assert never.what == "forward does not call this BatchNorm2d, with 16 parameters"
    assert (dropout.topic, dropout.layer) == ("dropout in evaluation", "Dropout")
    start = Careless.__init__.__code__.co_firstlineno
    lines = [each.location.line - start for each in (never, dropout) if each.location]
    assert lines == [2, 5]


def test_a_dropout_without_effect_changes_no_variance() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Dropout(0), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    assert "dropout before batch norm" not in {each.topic for each in hints(trace(net, (3, 8, 8)))}
