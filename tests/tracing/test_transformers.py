"""Transformers and recurrent nets: MACs by PyTorch's counter or by formula, receptive fields by gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith.net.tables import totals
from convsmith.tracing.trace import trace
from helpers import measured
from helpers.modules import Apply
from helpers.transformers import Swin, ViT

IMAGE = (3, 32, 32)


@pytest.mark.parametrize("token", [True, False])
def test_vit(token: bool) -> None:
    by_hand, fused = ViT(fused=False, token=token), ViT(fused=True, token=token)
    analysis = trace(by_hand, IMAGE)
    assert analysis.macs == measured.macs(by_hand, IMAGE)
    # PyTorch's counter does not count fused attention on CPUs.
    assert trace(fused, IMAGE).macs == analysis.macs
    assert analysis.parameters == measured.parameters(by_hand)
    for each in (analysis, trace(fused, IMAGE)):
        assert each.final_receptive_field.sizes == (4, 4)
        assert any("the full image through blocks.0.attention" in line for line in totals(each))
        assert each.uncovered == (0, 0)


def test_windows_of_attention_are_exact() -> None:
    net = Swin(shifts=(0,))
    analysis = trace(net, IMAGE)
    assert analysis.macs == measured.macs(net, IMAGE)
    # Windows of 4x4 patches of 2 pixels, then of 4x4 patches of 4 pixels.
    assert analysis.final_receptive_field.sizes == (16, 16)
    assert analysis.global_rows == ()
    changed = measured.positive(net)
    assert isinstance(changed, Swin)
    images = torch.rand(1, *IMAGE, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(changed.features(images)[0, 0, 2, 5], images)
    seen = gradient.abs().sum((0, 1)) > 0
    assert seen.any(1).nonzero().ravel().tolist() == list(range(16))
    assert seen.any(0).nonzero().ravel().tolist() == list(range(16, 32))


def test_swin_with_shifted_windows() -> None:
    net = Swin()
    analysis = trace(net, IMAGE)
    assert analysis.macs == measured.macs(net, IMAGE)
    # The windows at the seam of the shift contain both ends of the image.
    assert analysis.final_receptive_field.sizes == (32, 32)
    assert analysis.parameters == measured.parameters(net)
    assert analysis.unused == ()


STEPS, FEATURES, WIDTH = 28, 28, 5
GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers(kind: Any, layers: int, directions: int, batch_first: bool) -> None:
    layer = kind(FEATURES, WIDTH, layers, bidirectional=directions == 2, batch_first=batch_first)
    net = Apply(lambda x, layer: layer(x.squeeze(1) if batch_first else x[:, 0].transpose(0, 1))[0], layer)
    inputs = [FEATURES, *[directions * WIDTH] * (layers - 1)]
    analysis = trace(net, (1, STEPS, FEATURES))
    assert analysis.macs == sum(directions * STEPS * GATES[kind] * WIDTH * (each + WIDTH) for each in inputs)
    assert analysis.parameters == measured.parameters(net)
    assert analysis.rows[-1].out_field.is_global
    assert analysis.rows[-1].notes == ()


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_recurrent_cells(kind: Any, gates: int) -> None:
    net = Apply(lambda x, cell: cell(x.flatten(1)), kind(27, WIDTH))
    assert trace(net, (3, 3, 3)).macs == gates * WIDTH * (27 + WIDTH)


def test_a_projected_lstm_after_convolutions() -> None:
    net = Apply(
        lambda x, conv, layer: layer(conv(x).mean(2).transpose(1, 2))[1][0],
        nn.Conv2d(3, 6, 3, padding=1),
        nn.LSTM(6, WIDTH, proj_size=3, batch_first=True),
    )
    analysis = trace(net, IMAGE)
    assert analysis.macs == 32 * 32 * 27 * 6 + 32 * (4 * WIDTH * (6 + 3) + WIDTH * 3)
    # The mean over the rows is the head of that axis.
    assert analysis.final_receptive_field.sizes == (3, 3)
    assert analysis.unused_rows == ()


TOKENS = 16
LAYERS: dict[str, tuple[nn.Module, Callable[..., Tensor], int]] = {
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False),
        lambda x, layer: layer(x.flatten(2).permute(2, 0, 1)),
        2 * (TOKENS * 8 * 8 * 4 + 2 * TOKENS**2 * 8 + 2 * TOKENS * 8 * 16),
    ),
    "attention by keywords": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        lambda x, layer: layer(query=x.flatten(2).mT, key=x.flatten(2).mT, value=x.flatten(2).mT)[0],
        TOKENS * 8 * 8 * 4 + 2 * TOKENS**2 * 8,
    ),
    "bilinear": (
        nn.Bilinear(128, 128, 4),
        lambda x, layer: layer(x.flatten(1), x.flatten(1)),
        128 * 128 * 4 + 128 * 4,
    ),
    "embedding": (nn.Embedding(10, 4), lambda x, layer: layer(x.long().flatten(1)), 0),
    "bag of embeddings": (nn.EmbeddingBag(10, 4), lambda x, layer: layer(x.long().flatten(1)), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_macs_of_other_layers(name: str) -> None:
    layer, function, macs = LAYERS[name]
    assert trace(Apply(function, layer), (8, 4, 4)).macs == macs


LOCAL: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv1d(3, 4, 3), (3, 20)),
    (nn.Conv3d(2, 4, 3), (2, 8, 8, 8)),
    (nn.ConvTranspose1d(3, 4, 3, 2), (3, 10)),
    (nn.ConvTranspose2d(3, 4, 3, 2), (3, 8, 8)),
    (nn.ConvTranspose3d(2, 4, 3, 2), (2, 4, 4, 4)),
    (nn.LPPool2d(2, 2), (3, 8, 8)),
    (nn.FractionalMaxPool2d(2, output_size=4), (3, 8, 8)),
    (nn.Upsample(scale_factor=2, mode="trilinear"), (2, 4, 4, 4)),
    (nn.AdaptiveAvgPool3d(2), (2, 4, 4, 4)),
    (nn.AdaptiveMaxPool1d(2), (2, 8)),
    (nn.ReflectionPad3d(1), (2, 4, 4, 4)),
    (nn.CircularPad2d(1), (2, 4, 4)),
    (nn.LocalResponseNorm(2), (3, 4, 4)),
    (nn.Fold((4, 4), 2, stride=2), (8, 4)),
    (nn.Unfold(2), (3, 4, 4)),
    (Apply(lambda x: nn.MaxUnpool2d(2)(*nn.MaxPool2d(2, return_indices=True)(x))), (3, 8, 8)),
]


@pytest.mark.parametrize(("net", "shape"), LOCAL, ids=lambda each: type(each).__name__)
def test_macs_of_layers_with_windows(net: nn.Module, shape: Any) -> None:
    assert trace(net, shape).macs == measured.macs(net, shape)
