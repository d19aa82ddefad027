"""Which layer's filters the page shows."""

from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.dataset import load as load_data
from convsmith.evaluation.explanation import Explanation
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load
from convsmith.reports.page_images import _blocks, first_convolution
from convsmith.tracing.trace import trace
from helpers import hand_written, modules
from helpers.modules import Apply

IMAGE = (3, 16, 16)


@pytest.mark.parametrize(
    ("net", "name"),
    [
        ("C8:k5 / G F10", "block1.conv1"),
        ("U2 C8 / G F10", "block1.conv1"),
        ("+(C3 C3) / G F10", "block1.residual1.body.conv1"),
        ("D C8 / G F10", "block1.conv1"),
        # A projection of 1x1, a pool, and layers without filters.
        ("+(C8 C8) / G F10", None),
        ("P8 C8 / G F10", None),
        ("M2 C8 / G F10", None),
        ("F10", None),
    ],
)
def test_the_first_convolution_of_the_notation(net: str, name: str | None) -> None:
    row = first_convolution(analyze_notation(net, IMAGE))
    assert (row and row.name) == name


def prepared(images: Tensor, norm: nn.Module, conv: nn.Module) -> Tensor:
    padded = functional.pad((norm(images) - 0.5) / 0.25, (1, 1, 1, 1))
    maps: Tensor = conv(functional.pixel_unshuffle(padded, 2))
    return maps.mean((2, 3))


@pytest.mark.parametrize(
    ("create", "name"),
    [
        (hand_written.ConvBlocks, "convblock1.0"),
        (hand_written.ResNet, "conv1"),
        (hand_written.OneSequential, "model.0"),
        (modules.ConvMixer, "patches.0"),
        # A function has no layer whose weight is known.
        (modules.DirectParameters, "Conv2d"),
        (lambda: Apply(prepared, nn.BatchNorm2d(3), nn.Conv2d(12, 10, 3)), "layers.1"),
        (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 10, 3)), None),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), None),
    ],
)
def test_the_first_convolution_of_modules(create: Callable[[], nn.Module], name: str | None) -> None:
    row = first_convolution(trace(create(), IMAGE))
    assert (row and row.name) == name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ["Block 1: 4 x 4 cells, 3 of 12 channels", "Block 2: 2 x 2 cells, 5 of 20 channels"]),
        (("layer1", ""), ["layer1: 4 x 4 cells, 3 of 12 channels", "2 x 2 cells, 5 of 20 channels"]),
    ],
)
def test_captions_of_blocks(names: tuple[str, ...], expected: list[str]) -> None:
    blocks = tuple(np.zeros((count, size, size), np.float32) for count, size in ((3, 4), (5, 2)))
    explained = Explanation(
        indices=np.arange(1),
        for_predicted=None,
        for_label=None,
        occlusion=np.zeros((1, 2, 2), np.float32),
        patch=2,
        blocks=blocks,
        channels=(12, 20),
        names=names,
    )
    found, notes = _blocks(load_data(load("digits").data), explained)
    assert found is not None
    assert [(note, len(indices)) for note, indices in notes] == list(zip(expected, (3, 5), strict=True))
