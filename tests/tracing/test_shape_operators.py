"""Operators that rearrange or resize a map, against gradients and PyTorch's FLOP counter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.tracing.trace import trace
from helpers import measured
from helpers.modules import Apply


def c(inputs: int, outputs: int, kernel: Any = 3, **values: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **values)


def partition(x: Tensor, size: int) -> Tensor:
    """Divide maps into windows, which become images of the batch."""
    batch, channels, height, width = x.shape
    parts = x.view(batch, channels, height // size, size, width // size, size)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, size, size)


def merge(x: Tensor, size: int, batch: int, height: int) -> Tensor:
    rows, channels = height // size, x.shape[1]
    columns = x.shape[0] // (batch * rows)
    parts = x.view(batch, rows, columns, channels, size, size)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, columns * size)


def mean_of_windows(x: Tensor) -> Tensor:
    means = partition(x, 8).mean((2, 3), keepdim=True)
    return merge(means.expand(-1, -1, 8, 8), 8, len(x), x.shape[2])


def to_depth(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    parts = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(batch, 4 * channels, height // 2, width // 2)


def to_space(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    parts = x.view(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, channels // 4, 2 * height, 2 * width)


def padded(y: Tensor) -> Tensor:
    result = y.new_zeros(y.shape[0], y.shape[1], y.shape[2] + 2, y.shape[3] + 2)
    result[:, :, 1:-1, 1:-1] = y
    return result


def spread(y: Tensor) -> Tensor:
    result = torch.zeros(y.shape[0], y.shape[1], y.shape[2] * 2, y.shape[3] * 2, dtype=y.dtype)
    result[:, :, ::2, ::2] = y
    return result


def joined(a: Tensor, b: Tensor) -> Tensor:
    result = torch.empty(a.shape[0], 8, *a.shape[2:], dtype=a.dtype)
    result[:, :4] = a
    result[:, 4:] = b
    return result


CASES: dict[str, tuple[Any, ...]] = {
    "repeat interleave": (lambda x, a, b: b(a(x).repeat_interleave(2, 2)), c(3, 4), c(4, 4)),
    "flip": (lambda x, a, b: b(a(x).flip(2, 3)) + 0, c(3, 4), c(4, 4, 3, stride=2)),
    "channels by a list": (lambda x, a, b: b(a(x)[:, [0, 2, 1, 1]]), c(3, 4), c(4, 4)),
    "index select": (lambda x, a, b: b(a(x).index_select(1, torch.tensor([0, 2, 1, 1]))), c(3, 4), c(4, 4)),
    "gather": (
        lambda x, a, b: b(
            a(x).gather(1, torch.zeros(x.shape[0], 4, x.shape[2] - 2, x.shape[3] - 2, dtype=torch.long))
        ),
        c(3, 4),
        c(4, 4),
    ),
    "unfold": (
        lambda x, a, b: b(
            functional.unfold(a(x), 3, stride=2, padding=1).view(len(x), 36, x.shape[2] // 2, x.shape[3] // 2)
        ),
        c(3, 4, padding=1),
        c(36, 4),
    ),
    "unfold of a dimension": (
        lambda x, a, b: b(a(x).unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3)),
        c(3, 4, padding=1),
        c(16, 4),
    ),
    "bicubic": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=2, mode="bicubic")),
        c(3, 4),
        c(4, 4),
    ),
    "bilinear1.5": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=1.5, mode="bilinear")),
        c(3, 4),
        c(4, 4),
    ),
    "nearest1.3": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=1.3, mode="nearest")),
        c(3, 4),
        c(4, 4),
    ),
    "nearest-exact": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=1.5, mode="nearest-exact")),
        c(3, 4),
        c(4, 4),
    ),
    "bilinear, smaller": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=0.4, mode="bilinear")),
        c(3, 4),
        c(4, 4),
    ),
    "bilinear, antialiased": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=0.5, mode="bilinear", antialias=True)),
        c(3, 4, padding=1),
        c(4, 4),
    ),
    "bicubic, antialiased": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=0.5, mode="bicubic", antialias=True)),
        c(3, 4, padding=1),
        c(4, 4),
    ),
    "aligned corners": (
        lambda x, a, b: b(functional.interpolate(a(x), scale_factor=2, mode="bilinear", align_corners=True)),
        c(3, 4, stride=2),
        c(4, 4),
    ),
    "area": (lambda x, a, b: b(functional.interpolate(a(x), size=20, mode="area")), c(3, 4), c(4, 4)),
    "space to depth by view": (
        lambda x, a, b: b(
            a(x)
            .view(x.shape[0], 4, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
            .permute(0, 1, 3, 5, 2, 4)
            .reshape(x.shape[0], 16, x.shape[2] // 2, x.shape[3] // 2)
        ),
        c(3, 4, padding=1),
        c(16, 4),
    ),
    "depth to space by view": (
        lambda x, a, b: b(
            a(x)
            .view(x.shape[0], 2, 2, 2, x.shape[2] // 2, x.shape[3] // 2)
            .permute(0, 1, 4, 2, 5, 3)
            .reshape(x.shape[0], 2, x.shape[2], x.shape[3])
        ),
        c(3, 8, padding=1, stride=2),
        c(2, 4),
    ),
    "focus": (
        lambda x, a: a(
            torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        ),
        c(12, 4),
    ),
    "chunk of rows": (lambda x, a, b: b(a(x).chunk(2, 2)[0]), c(3, 4), c(4, 4)),
    "rows put together": (
        lambda x, a, b: b(torch.cat([a(x)[:, :, :48], a(x)[:, :, 48:]], 2)),
        c(3, 4, padding=1),
        c(4, 4),
    ),
    "einsum": (
        lambda x, a, b: b(torch.einsum("bchw,dc->bdhw", a(x), torch.ones(5, 4, dtype=x.dtype))),
        c(3, 4),
        c(5, 4),
    ),
    "circular": (
        lambda x, a, b: b(a(x))[:, :, 20:-20, 20:-20],
        c(3, 4, padding=1, padding_mode="circular"),
        c(4, 4, padding=1, padding_mode="circular"),
    ),
    "reflect": (
        lambda x, a, b: b(a(x)),
        c(3, 4, padding=1, padding_mode="reflect"),
        c(4, 4, padding=1, padding_mode="replicate"),
    ),
    "padding by assignment": (lambda x, a, b: b(padded(a(x))), c(3, 4), c(4, 4)),
    "zeros between pixels": (lambda x, a, b: b(spread(a(x))), c(3, 4, stride=2), c(4, 4)),
    "channels by assignment": (lambda x, a, b: joined(a(x), b(x)), c(3, 4, padding=1), c(3, 4, 5, padding=2)),
    "largest channels": (lambda x, a, b: b(a(x).topk(2, 1)[0]), c(3, 4), c(2, 4)),
    "sorted channels": (lambda x, a, b: b(a(x).sort(1)[0]), c(3, 4), c(4, 4)),
    "where": (lambda x, a, b: b(torch.where(a(x) > -1, a(x), torch.zeros_like(a(x)))), c(3, 4), c(4, 4)),
    "scatter": (
        lambda x, a, b: b(torch.zeros_like(a(x)).scatter(1, torch.zeros(a(x).shape, dtype=torch.long), a(x))),
        c(3, 4),
        c(4, 4),
    ),
    "power-average pooling": (lambda x, a, b: b(functional.lp_pool2d(a(x), 2, 2)), c(3, 4), c(4, 4)),
    "response norm": (lambda x, a, b: b(nn.LocalResponseNorm(3)(a(x))), c(3, 4), c(4, 4)),
    "norm over channels": (
        lambda x, a, b: b(functional.rms_norm(a(x).permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)),
        c(3, 4),
        c(4, 4),
    ),
    "mean of windows": (
        lambda x, a, b: b(a(x).view(x.shape[0], 4, x.shape[2] // 4, 4, x.shape[3] // 4, 4).mean((3, 5))),
        c(3, 4, padding=1),
        c(4, 4),
    ),
    "distances to vectors": (
        lambda x, a, b: b(
            torch.cdist(a(x).permute(0, 2, 3, 1), torch.eye(4, dtype=x.dtype)).permute(0, 3, 1, 2)
        ),
        c(3, 4),
        c(4, 4),
    ),
    "fake quantization": (
        lambda x, a, b: b(torch.fake_quantize_per_tensor_affine(a(x), 0.1, 0, -128, 127)),
        c(3, 4),
        c(4, 4),
    ),
    "narrow": (lambda x, a, b: b(a(x).narrow(2, 5, 60)), c(3, 4), c(4, 4)),
    "tile": (lambda x, a, b: b(a(x).tile(1, 2, 1, 1)), c(3, 4), c(8, 4)),
    "stack": (lambda x, a, b: b(torch.stack([a(x), a(x)], 2).sum(2)), c(3, 4), c(4, 4)),
    "convolution in windows": (
        lambda x, a, b: merge(b(partition(a(x), 8)), 8, x.shape[0], x.shape[2]),
        c(3, 4, padding=1),
        c(4, 4, padding=1),
    ),
    "mean of windows, repeated": (
        lambda x, a, b: b(
            merge(
                partition(a(x), 8).mean((2, 3), keepdim=True).expand(-1, -1, 8, 8), 8, x.shape[0], x.shape[2]
            )
        ),
        c(3, 4, padding=1),
        c(4, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_gradients_and_flops(name: str) -> None:
    function, *layers = CASES[name]
    net = Apply(function, *layers)
    analysis = trace(net, (3, 96, 96))
    assert analysis.final_receptive_field.sizes == measured.receptive_field(
        net, lambda net, images: net(images), size=96, other=96
    )
    assert analysis.macs == measured.macs(net, (3, 96, 96))
    assert not any(note.startswith("the inspector") for row in analysis.rows for note in row.notes)


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x, first, last: last(first(x).rot90(1, (2, 3))), (5, 7)),
        # Positions from both ends of the map meet.
        (lambda x, first, last: last(first(x).repeat(1, 1, 2, 1)), (32, 7)),
        (lambda x, first, last: last(first(x).roll(3, 2)), (32, 7)),
        (lambda x, first, last: first(x) + first(x).flip(2), (32, 5)),
        # Every window of the fold contains the complete window.
        (
            lambda x, first, last: functional.fold(
                functional.unfold(first(x), 3, padding=1), (30, 28), 3, padding=1
            ),
            (7, 9),
        ),
        # One row of the map, which every row depends on.
        (lambda x, first, last: first(x) + first(x)[:, :, 3:4], (29, 5)),
        (lambda x, first, last: last(first(x))[:, :, 3], (5, 7)),
    ],
)
def test_by_formula(function: Callable[..., Tensor], sizes: tuple[int, int]) -> None:
    net = Apply(function, c(3, 4, (3, 5)), c(4, 4))
    assert trace(net, (3, 32, 32)).final_receptive_field.sizes == sizes


@pytest.mark.parametrize("seed", range(3))
def test_no_message_names_an_operator_of_the_implementation(seed: int) -> None:
    functions: list[Callable[[Tensor], Any]] = [
        torch.linalg.svdvals,
        torch.linalg.inv,
        torch.histc,
        lambda x: torch.cdist(x, x),
        lambda x: x.take(torch.tensor([1])),
        lambda x: torch.fft.rfft2(x).abs(),
        lambda x: x.softmax(2),
    ]
    for function in functions[seed::3]:
        analysis = trace(Apply(lambda x, function=function: function(x)), (3, 8, 8))
        assert analysis.rows
        for row in analysis.rows:
            assert row.operation.strip("_ ") == row.operation != ""
            assert all("_" not in note for note in row.notes)
            assert all(note.strip() for note in row.notes)
