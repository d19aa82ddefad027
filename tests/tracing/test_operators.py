"""The rules for operators against gradients and PyTorch's FLOP counter."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.net.tables import record, totals
from convsmith.tracing.trace import trace
from helpers import measured
from helpers.modules import Apply
from helpers.nets import examples

IMAGE = (3, 32, 32)


def conv(inputs: int, outputs: int, kernel: int = 3, **values: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **values)


CONV = nn.Conv2d(3, 8, 3, padding=1)


WINDOWS: dict[str, nn.Module] = {
    "asymmetric kernel and padding": nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(0, 3), dilation=(1, 2)),
    "same padding, even kernel": nn.Sequential(nn.Conv2d(3, 4, 4, padding="same"), nn.Conv2d(4, 4, 2)),
    "reflect padding": nn.Sequential(conv(3, 4, 5, padding=2, padding_mode="reflect"), conv(4, 4)),
    "transposed": nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 4, 3, stride=2)),
    "transposed, stride over kernel": nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 4, 2, stride=3), nn.Conv2d(4, 4, 3)
    ),
    "transposed, dilated": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 3, stride=2, dilation=2, padding=1), nn.Conv2d(4, 4, 2)
    ),
    "nearest upsampling": nn.Sequential(conv(3, 4, stride=2), nn.Upsample(scale_factor=2), conv(4, 4)),
    "bilinear upsampling": nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 4, 3)
    ),
    "pixel shuffles": nn.Sequential(nn.PixelUnshuffle(2), conv(12, 16), nn.PixelShuffle(4), conv(1, 4)),
    "adaptive pooling that divides": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(32)),
    "adaptive pooling that does not": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(36)),
    "channel shuffle by hand": Apply(
        lambda x, conv, last: last(conv(x).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)),
        CONV,
        nn.Conv2d(8, 4, 3),
    ),
    "channels last by hand": Apply(
        lambda x, conv, norm, linear: linear(norm(conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        nn.Conv2d(3, 8, 7, stride=2),
        nn.LayerNorm(8),
        nn.Linear(8, 4),
    ),
    "tokens and back": Apply(
        lambda x, conv, line: line(conv(x).flatten(2).mT).mT.unflatten(2, (96, 96)),
        CONV,
        nn.Linear(8, 4),
    ),
    "a strided slice and channels padded": Apply(
        lambda x, conv: functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3)) + conv(x),
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
    ),
    "channels split and put together": Apply(
        lambda x, conv, last: torch.cat([last(half) for half in conv(x).chunk(2, 1)], 1), CONV, conv(4, 4)
    ),
    "gated linear unit": Apply(lambda x, conv: functional.glu(conv(x), 1), CONV),
}  # fmt: skip


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_by_gradients_and_flops(name: str) -> None:
    module = WINDOWS[name]
    analysis = trace(module, (3, 96, 96))
    field = measured.receptive_field(module, lambda net, images: net(images), size=96, other=96)
    assert analysis.final_receptive_field.sizes == field
    assert analysis.macs == measured.macs(module, (3, 96, 96))
    assert analysis.parameters == measured.parameters(module)


def test_one_and_three_axes() -> None:
    analysis = trace(nn.Sequential(nn.Conv1d(2, 4, 5, stride=2), nn.Conv1d(4, 4, 3)), (2, 40))
    assert analysis.final_receptive_field.sizes == (9,)
    analysis = trace(nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.MaxPool3d(2)), (1, 8, 8, 12))
    assert analysis.final_receptive_field.sizes == (2, 4, 6)
    assert analysis.macs == 2 * 15 * 8 * 6 * 8


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        logits: Tensor = self.head((tokens + mixed).mean(1))
        return logits


def test_attention_is_global() -> None:
    net = Attention()
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (4, 4)
    (row,) = [each for each in analysis.rows if each.operation == "MultiheadAttention"]
    assert row.out_field.axes == ()
    assert not row.out_field.unknown
    # PyTorch's counter has no attention: four projections of 8 to 8, and 64 tokens times 64, twice.
    assert row.macs == 4 * 64 * 8 * 8 + 2 * 64 * 64 * 8
    (join,) = [each for each in analysis.rows if each.operation == "Add"]
    assert "a global receptive field joins" in join.notes[0]


def test_a_global_gate_is_noted() -> None:
    net = Apply(
        lambda x, conv, gate: conv(x) * torch.sigmoid(gate(functional.adaptive_avg_pool2d(x, 1))),
        nn.Conv2d(3, 8, 5, padding=2),
        nn.Conv2d(3, 8, 1),
    )
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (5, 5)
    assert any("a global receptive field joins" in note for note in analysis.rows[-1].notes)


@pytest.mark.parametrize(
    ("function", "note"),
    [
        (lambda x, conv: x[:, :1, 1:, 1:] + conv(x)[:, :1], "centres are 0.5 pixels apart"),
        (
            lambda x, conv: x[:, :1, ::2, ::2][:, :, :15, :15] + conv(x)[:, :1, :15, :15],
            "2 and 1 pixels apart",
        ),
    ],
)
def test_misaligned_branches(function: Callable[..., Tensor], note: str) -> None:
    analysis = trace(Apply(function, nn.Conv2d(3, 8, 2)), IMAGE)
    assert any(note in each for row in analysis.rows for each in row.notes)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, conv: torch.linalg.svdvals(conv(x)), "no rule for the receptive field of 'svd'"),
        (lambda x, conv: functional.max_pool1d(conv(x).flatten(2), 2), "along a dimension that joins"),
        (lambda x, conv: conv(x)[:, :, :24].reshape(1, 8, 16, 48), "splits rows of the map"),
        (lambda x, conv: conv(x) + conv(x).transpose(2, 3), "different axes or positions"),
        (lambda x, conv: functional.grid_sample(x, torch.rand(1, 4, 4, 2)), "values of its grid"),
        (lambda x, conv: conv(x).gather(2, x[:, :1].long().expand(1, 8, -1, -1)), "values of an index"),
        (lambda x, conv: nn.MaxUnpool2d(2)(*functional.max_pool2d(conv(x), 2, return_indices=True)),
         "those of the maxima"),
        (lambda x, conv: conv(x).diagonal(dim1=2, dim2=3), "a diagonal of the map"),
    ],
)  # fmt: skip
def test_unknown_receptive_fields(function: Callable[..., Tensor], reason: str) -> None:
    analysis = trace(Apply(function, CONV), IMAGE)
    assert analysis.receptive_field is None
    assert reason in analysis.final_receptive_field.unknown
    assert analysis.uncovered is None
    assert record(analysis)["totals"]["receptive_field"] is None
    (check,) = judge(Brief(min_receptive_field=1), Subject(analysis=analysis))
    assert (check.verdict, reason in check.actual) == ("fail", True)


def test_unknown_macs_make_the_total_a_lower_bound() -> None:
    analysis = trace(Apply(lambda x, conv: torch.linalg.svdvals(conv(x)), CONV), IMAGE)
    assert [row.macs for row in analysis.unknown_macs] == [None]
    assert analysis.macs is None
    assert analysis.known_macs == 3 * 8 * 9 * 32 * 32
    assert any("MACs: at least 0.2 M (1 operation unknown)" in line for line in totals(analysis))
    (check,) = judge(Brief(max_macs=10**9), Subject(analysis=analysis))
    assert check.verdict == "fail"


def test_nested_outputs() -> None:
    net = Apply(lambda x, conv: {"maps": [conv(x), None], "size": 3}, CONV)
    assert trace(net, IMAGE).macs == 3 * 8 * 9 * 32 * 32


# Functions of a tensor of any shape; many do not fit the output of the previous one.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv": lambda x: functional.conv2d(x, torch.ones(4, x.shape[1], 3, 3), padding=1),
    "transposed": lambda x: functional.conv_transpose2d(x, torch.ones(x.shape[1], 4, 3, 3), stride=2),
    "pool": lambda x: functional.max_pool2d(x, 2),
    "adaptive": lambda x: functional.adaptive_max_pool2d(x, 3),
    "upsample": lambda x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "bicubic": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bicubic"),
    "unshuffle": lambda x: functional.pixel_unshuffle(x, 2),
    "pad": lambda x: functional.pad(x, (1, 2)),
    "permute": lambda x: x.permute(*reversed(range(x.dim()))),
    "flatten": lambda x: x.flatten(-2),
    "squeeze": lambda x: x.squeeze(),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "unbind": lambda x: x.unbind(-1)[0],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "cat": lambda x: torch.cat([x, x], -1),
    "stack": lambda x: torch.stack([x, x], 1),
    "slice": lambda x: x[..., 1::2],
    "index": lambda x: x[..., [0]],
    "diagonal": lambda x: x.diagonal(dim1=-2, dim2=-1),
    "repeat": lambda x: x.repeat(*[2] * x.dim()),
    "expand": lambda x: x.unsqueeze(0).expand(2, *x.shape),
    "mean": lambda x: x.mean(-1),
    "sum": lambda x: x.sum(),
    "max": lambda x: x.max(-1)[0],
    "sort": lambda x: x.sort(-1)[0],
    "softmax": lambda x: x.softmax(-1),
    "normalize": lambda x: functional.normalize(x, dim=-1),
    "group norm": lambda x: functional.group_norm(x, 1),
    "layer norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
    "matmul": lambda x: x @ x.mT,
    "linear": lambda x: functional.linear(x, torch.ones(5, x.shape[-1])),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x, x),
    "unfold": lambda x: functional.unfold(x, 2),
    "write": lambda x: x.clone().index_fill_(-1, torch.tensor([0]), 1.0),
    "where": lambda x: torch.where(x > 0, x, -x),
    "roll": lambda x: x.roll(1, -1),
}


class Chain(nn.Module):
    """Functions in sequence; those that PyTorch rejects are skipped."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.stem = conv(3, 8, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.stem(images)
        for name in self.names:
            with contextlib.suppress(RuntimeError, IndexError, TypeError, ValueError):
                maps = FUNCTIONS[name](maps)
        return maps


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.sampled_from(sorted(FUNCTIONS)), max_size=5))
def test_any_chain_of_functions(names: list[str]) -> None:
    net = Chain(names)
    analysis = trace(net, (3, 12, 10))
    assert analysis.parameters == measured.parameters(net)
    # PyTorch's counter does not count attention on CPUs.
    if not analysis.unknown_macs and "attention" not in names:
        assert analysis.macs == measured.macs(net, (3, 12, 10))


@pytest.mark.parametrize("index", [[0], [2, 1], slice(0, 1), torch.tensor([3])])
def test_a_list_of_indices_keeps_the_numbers_known(index: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, 8, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.stem(images)[..., index]
            return functional.linear(maps, torch.ones(5, maps.shape[-1]))

    net = Net()
    assert trace(net, (3, 12, 10)).macs == measured.macs(net, (3, 12, 10))


@pytest.mark.parametrize(("size", "is_global"), [(16, False), (28, True)])
def test_a_softmax_over_classes_of_one_position_is_local(size: int, is_global: bool) -> None:
    """Flattened, a map of one position has its channels alone; a larger one has its positions too."""
    layers = (nn.Conv2d(3, 8, 5, stride=2), nn.Conv2d(8, 10, 6, stride=6), nn.Flatten(), nn.LogSoftmax(1))
    analysis = trace(nn.Sequential(*layers), (3, size, size))
    assert bool(analysis.global_rows) == is_global
    assert analysis.receptive_field == 15


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_groups_of_a_group_norm(groups: int) -> None:
    """As a layer and as a function, beside a norm without groups."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.batch = nn.Conv2d(1, 8, 3), nn.GroupNorm(groups, 8), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            return functional.group_norm(self.batch(self.norm(self.conv(x))), groups)

    rows = trace(Net(), (1, 8, 8)).rows
    found = [(row.operation, row.groups) for row in rows[1:]]
    assert found == [("GroupNorm", groups), ("BatchNorm2d", 1), ("GroupNorm", groups)]
