"""Operations without an effect: leaving them out changes nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convsmith.net.arithmetic import analyze_notation
from convsmith.tracing.trace import trace
from helpers.nets import examples

IMAGE = (4, 6, 6)
LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(4, 4, 3, padding=1),
    lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1),
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.Sigmoid,
    nn.Tanh,
    lambda: nn.LogSoftmax(1),
    lambda: nn.LogSoftmax(2),
    nn.Identity,
    lambda: nn.BatchNorm2d(4),
    lambda: nn.Dropout(0.0),
    lambda: nn.Dropout(0.5),
    lambda: nn.Dropout2d(0.5),
    lambda: nn.AlphaDropout(0.5),
    lambda: nn.AvgPool2d(1),
    lambda: nn.MaxPool2d(1),
    lambda: nn.MaxPool2d(1, stride=2),
    lambda: nn.MaxPool2d(3, stride=1, padding=1),
    lambda: nn.AvgPool2d(3, stride=1, padding=1),
    lambda: nn.AdaptiveAvgPool2d(6),
    lambda: nn.AdaptiveAvgPool2d(1),
    lambda: nn.AdaptiveMaxPool2d(1),
    lambda: nn.Upsample(scale_factor=1),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.ConstantPad2d(1, -1.0),
]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.sampled_from(range(len(LAYERS))), min_size=1, max_size=6), st.integers(0, 99))
def test_layers_without_effect_can_be_left_out(chosen: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(*(LAYERS[each]() for each in chosen)).eval()
    analysis = trace(net, IMAGE)
    images = 3 * torch.randn(2, *IMAGE)
    for row in analysis.rows:
        if row.inactive:
            rest = nn.Sequential(*(each for name, each in net.named_children() if name != row.name))
            assert torch.equal(rest(images.clone()), net(images.clone())), row
            # A dropout that drops is one that draws.
            net[int(row.name)].train()
            torch.manual_seed(1)
            assert torch.equal(rest(images.clone()), net(images.clone())), row
            net.eval()


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.ReLU(), nn.ReLU()], "its input is not negative, after 0"),
        ([nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.ReLU()], "its input is not negative, after 2"),
        ([nn.ReLU6(), nn.ReLU6()], "its input went through 0 already"),
        ([nn.AvgPool2d(1)], "its window is 1x1"),
        ([nn.AvgPool2d(6), nn.AdaptiveAvgPool2d(1)], "its map is 1x1 already"),
        ([nn.AdaptiveAvgPool2d(6)], "its window is 1x1"),
        ([nn.Upsample(scale_factor=1)], "its output is as large as its input"),
        ([nn.Identity()], "it returns its input"),
        ([nn.Dropout(0)], "p is 0"),
        ([nn.Dropout2d(1)], "p is 1: in training it drops everything"),
        ([nn.BatchNorm2d(4, affine=False)], ""),
        ([nn.ReLU(), nn.ConstantPad2d(1, -1.0), nn.ReLU()], ""),
        ([nn.ReLU(), nn.AlphaDropout(0.1), nn.ReLU()], ""),
        ([nn.ReLU(), nn.ReLU6()], ""),
        ([nn.MaxPool2d(1, stride=2)], ""),
        ([nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(3, stride=1, padding=1)], ""),
        ([nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(3, stride=1, padding=1)], "its map is 1x1 already"),
        ([nn.AvgPool2d(3, stride=1, padding=1)], ""),
    ],
)
def test_reasons(layers: list[nn.Module], reason: str) -> None:
    assert trace(nn.Sequential(*layers), IMAGE).rows[-1].inactive == reason


@pytest.mark.parametrize(
    ("net", "reasons"),
    [
        ("C8 A1 / G F10", ["its window is 1x1"]),
        ("C8 / G F10", []),
        ("C8 D / M6 A1 / F10", ["its map is 1x1 already"]),
    ],
)
def test_reasons_in_the_notation(net: str, reasons: list[str]) -> None:
    rows = analyze_notation(net, (3, 6, 6)).rows
    assert [row.inactive for row in rows if row.inactive] == reasons
