"""Kinds of layers and blocks, counted in notations and modules."""

import pytest
import torch
from torch import nn

from convsmith.briefs.structure import LAYER_KINDS, LayerKind, blocks, count_kind
from convsmith.net.arithmetic import analyze
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.tracing.trace import trace
from helpers import modules
from helpers.nets import analysis_of


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


IMAGE = (3, 32, 32)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (modules.ResNet20, {"residual": 9, "strided": 4, "global-average-pooling": 1, "fully-connected": 1}),
        (modules.DenseBlockNet, {"concatenation": 8, "average-pooling": 1, "residual": 0}),
        (modules.InceptionNet, {"concatenation": 2, "max-pooling": 3}),
        (modules.MobileNetBlock, {"depthwise-separable": 3, "residual": 2, "strided": 2}),
        (modules.ConvMixer, {"depthwise-separable": 0, "residual": 4, "strided": 1}),
        (modules.UNet, {"transposed": 2, "max-pooling": 2, "concatenation": 2, "fully-connected": 0}),
        (modules.DirectParameters, {"dilated": 1, "strided": 1, "global-average-pooling": 1}),
        (modules.Functional, {"max-pooling": 1, "average-pooling": 1, "global-average-pooling": 1}),
    ],
)
def test_kinds_of_layers_in_modules(kind: type[nn.Module], counts: dict[str, int]) -> None:
    rows = trace(kind(), IMAGE).rows
    assert {name: count_kind(rows, name) for name in counts} == counts  # type: ignore[arg-type]


def test_a_pool_over_the_full_map_is_global() -> None:
    analysis = analysis_of("C8:s4 / A8 / F10")
    assert count_kind(analysis.rows, "global-average-pooling") == 1
    assert count_kind(analysis.rows, "average-pooling") == 0


@pytest.mark.parametrize(
    ("net", "sizes", "ends"),
    [
        ("C8 C8 C8:s2 / S8 C8 C8:d2 / G F10", [3, 3], [True, True]),
        ("C8 M2 / D P8 / C10 G", [1, 2, 1], [False, False, False]),
        ("+(C8 C8:s2) / G C10", [3], [True]),
    ],
)
def test_blocks_and_their_ends(net: str, sizes: list[int], ends: list[bool]) -> None:
    parts = blocks(analysis_of(net).rows)
    assert [len(block.convolutions) for block in parts] == sizes
    assert [block.ends_strided_or_dilated for block in parts] == ends


# Layers without an effect, and what computes the same without them; the map has 8x8 pixels.
IDLE: list[tuple[LayerKind, nn.Module, str]] = [
    ("dilated", nn.Conv2d(4, 4, 3, padding=9, dilation=9), "centre"),
    ("dilated", nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(4, 4, 3, padding=2, dilation=2)), "centre"),
    ("strided", nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(4, 4, 3, padding=1, stride=2)), "stride"),
    ("max-pooling", nn.MaxPool2d(1), "layer"),
    ("average-pooling", nn.AvgPool2d(1), "layer"),
    ("depthwise-separable", nn.Sequential(nn.Conv2d(4, 4, 1, groups=4), nn.Conv2d(4, 4, 1)), "window"),
]


@pytest.mark.parametrize(("kind", "part", "without"), IDLE, ids=lambda value: str(value)[:20])
def test_layers_without_effect_are_not_counted(kind: LayerKind, part: nn.Module, without: str) -> None:
    """The oracle: the same numbers without the dilation, the stride, or the layer."""
    rows = trace(nn.Sequential(part), (4, 8, 8)).rows
    assert (count_kind(rows, kind), len(LAYER_KINDS[kind].find(rows))) == (0, 1)
    images = torch.randn(2, 4, 8, 8)
    layers = list(part) if isinstance(part, nn.Sequential) else [part]
    expected = images
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and without == "centre":
            expected = nn.functional.conv2d(expected, layer.weight[:, :, 1:2, 1:2], layer.bias)
        elif isinstance(layer, nn.Conv2d) and without == "stride":
            expected = nn.functional.conv2d(expected, layer.weight, layer.bias, padding=1)
        elif without != "layer":
            expected = layer(expected)
    torch.testing.assert_close(part(images), expected)


def test_layers_that_no_output_depends_on_are_not_counted() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.dilated = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, dilation=2)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            self.pool(self.dilated(x))
            return x

    rows = trace(Unused(), IMAGE).rows
    for kind in ("dilated", "max-pooling"):
        assert (count_kind(rows, kind), len(LAYER_KINDS[kind].find(rows))) == (0, 1)


def test_a_maximum_over_channels_is_no_pooling() -> None:
    class ChannelMaximum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.amax(1, keepdim=True)

    assert count_kind(trace(ChannelMaximum(), IMAGE).rows, "max-pooling") == 0
    rows = trace(nn.Sequential(nn.FractionalMaxPool2d(2, output_size=8)), IMAGE).rows
    assert count_kind(rows, "max-pooling") == 1
