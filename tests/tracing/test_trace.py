"""The tracing of modules against three other ways: counting, PyTorch's FLOP counter, and gradients."""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.errors import ModuleError, ShapeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.net.tables import record, totals
from convsmith.tracing.trace import trace
from helpers import measured, modules
from helpers.nets import examples, net_settings, notations

IMAGE = (3, 32, 32)


def conv(inputs: int, outputs: int, kernel: int = 3, **values: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **values)


class Apply(nn.Module):
    """A function as a module, with layers that it may use."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, images: Tensor) -> Any:
        return self.function(images, *self.layers)


def test_figures_that_are_published() -> None:
    # He et al. give 0.27 M parameters; 40.8 M multiply-adds, which projections raise a little.
    assert trace(modules.ResNet20(), IMAGE).parameters == 272_474
    assert trace(modules.ResNet20(), IMAGE).macs == pytest.approx(40.8e6, rel=0.01)


def same_figures(spec: Analysis, traced: Analysis) -> None:
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


@settings(max_examples=examples(1000), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations(), net_settings)
def test_arithmetic_is_what_tracing_finds(text: str, config: NetSettings) -> None:
    try:
        planned = plan(parse(text), (2, 36, 40), config)
    except ShapeError:
        assume(condition=False)
        raise
    same_figures(analyze(planned), trace(build(planned), (2, 36, 40)))


@settings(max_examples=examples(1000), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(notations())
def test_arithmetic_is_what_gradients_show(text: str) -> None:
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
    seen = measured.pixels_seen(features, torch.ones(1, 2, size, size), (position, position))
    for across in (0, 1):
        places = seen.any(across).nonzero().ravel().tolist()
        assert (places[0], places[-1]) == (first, first + axis.size - 1)


@pytest.mark.parametrize("text", ["+(C8:k4:s2:p1) / G F10", "C8 +(C8:k2:s3:p0 C8)*2 / G F10"])
def test_branches_out_of_line_alike_in_notation_and_module(text: str) -> None:
    planned = plan(parse(text), (2, 36, 36), NetSettings())
    spec = analyze(planned)
    same_figures(spec, trace(build(planned), (2, 36, 36)))
    assert any("are misaligned" in note for row in spec.rows for note in row.notes)


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
def test_windows_of_every_kind_by_gradients_and_flops(name: str) -> None:
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


def test_attention_sees_the_whole_image() -> None:
    net = Attention()
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (4, 4)
    (row,) = [each for each in analysis.rows if each.operation == "MultiheadAttention"]
    assert row.out_field.axes == ()
    assert not row.out_field.unknown
    # PyTorch's counter does not see into it: four projections of 8 to 8, and 64 tokens times 64, twice.
    assert row.macs == 4 * 64 * 8 * 8 + 2 * 64 * 64 * 8
    (join,) = [each for each in analysis.rows if each.operation == "Add"]
    assert "a global receptive field joins" in join.notes[0]


def test_a_gate_over_the_whole_map_is_told_and_the_path_keeps_its_figure() -> None:
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
def test_branches_that_do_not_line_up(function: Callable[..., Tensor], note: str) -> None:
    analysis = trace(Apply(function, nn.Conv2d(3, 8, 2)), IMAGE)
    assert any(note in each for row in analysis.rows for each in row.notes)


class Restless(nn.Module):
    """Changes itself and all random states whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.kept: list[Tensor] = []
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(()))
        self.generator = torch.Generator()
        self.last = torch.ones(2, requires_grad=True) * 2

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        maps: Tensor = self.drop(self.norm(self.conv(images)))
        self.kept.append(maps)
        self.last = maps
        random.random()  # noqa: S311
        np.random.rand()  # noqa: NPY002
        return maps + torch.rand(()) + torch.rand((), generator=self.generator)


def test_the_module_is_left_exactly_as_it_was() -> None:
    net = Restless().train()
    net.drop.eval()
    net(torch.ones(2, 3, 8, 8)).sum().backward()
    calls: list[str] = []
    net.register_forward_hook(lambda *_: calls.append("own hook"))
    modes = [each.training for each in net.modules()]
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [None if each.grad is None else each.grad.clone() for each in net.parameters()]
    kept, last, hooks = list(net.kept), net.last, dict(net._forward_hooks)
    states = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: NPY002
    own = net.generator.get_state().tolist()
    analysis = trace(net, (3, 8, 8))
    assert analysis.parameters == sum(each.numel() for each in net.parameters())
    assert [each.training for each in net.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    for before, after in zip(gradients, net.parameters(), strict=True):
        assert (before is None and after.grad is None) or torch.equal(before, after.grad)  # type: ignore[arg-type]
    assert (net.calls, net.kept, net.last is last, dict(net._forward_hooks)) == (1, kept, True, hooks)
    assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == states  # noqa: NPY002
    assert net.generator.get_state().tolist() == own


def test_shared_weights_are_counted_once_and_named() -> None:
    analysis = trace(modules.SharedWeights(), IMAGE)
    notes = [note for row in analysis.rows for note in row.notes]
    assert notes == ["shares the weights of again, where they are counted"] * 2 + [
        "shares the weights of narrow, where they are counted"
    ]


def test_parameters_that_nothing_takes_are_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    net.register_parameter("spare", nn.Parameter(torch.zeros(7)))
    analysis = trace(net, IMAGE)
    assert analysis.unused == (("spare", 7),)
    assert analysis.parameters == 112 + 7
    assert "Parameters that no operation uses: spare (7)" in totals(analysis)


class Gate(nn.Module):
    """A layer that no table of layers has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * torch.tanh(self.scale * maps)


def test_layers_that_no_table_knows() -> None:
    net = nn.Sequential(conv(3, 8), nn.Identity(), Gate(), nn.Softshrink(), nn.Mish(), conv(8, 8, stride=2))
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (5, 5)
    assert analysis.parameters == sum(each.numel() for each in net.parameters())
    assert [row.operation for row in analysis.rows][:3] == ["Conv2d", "Identity", "mul"]


def test_it_works_under_inference_mode_and_in_training_mode() -> None:
    net = modules.ConvMixer().train()
    expected = record(trace(net, IMAGE))
    with torch.inference_mode():
        assert record(trace(net, IMAGE)) == expected
    assert record(trace(net.eval().double(), IMAGE)) == expected
    assert record(trace(net.to(memory_format=torch.channels_last), IMAGE)) == expected  # type: ignore[call-overload]


def test_a_small_image_does_not_cut_the_receptive_field_off() -> None:
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


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, conv: torch.fft.rfft2(conv(x)).abs(), "there is no rule for the operator _fft_r2c"),
        (lambda x, conv: conv(x).roll(1, 2), "there is no rule for the operator roll"),
        (lambda x, conv: conv(x)[:, :, 3], "it selects single rows or columns of the map"),
        (lambda x, conv: conv(x).view(1, 8, 8, 4, 32), "split over several dimensions"),
        (lambda x, conv: conv(x) + conv(x).transpose(2, 3), "different axes of the image"),
        (lambda x, conv: torch.cat([conv(x), x[:, :1].expand(1, 8, 32, 32)], 2), "maps are concatenated"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_unknown_and_never_zero(function: Callable[..., Tensor], reason: str) -> None:
    analysis = trace(Apply(function, CONV), IMAGE)
    assert analysis.receptive_field is None
    assert reason in analysis.final_receptive_field.unknown
    assert analysis.uncovered is None
    assert record(analysis)["totals"]["receptive_field"] is None
    (check,) = judge(Brief(min_receptive_field=1), analysis)
    assert (check.verdict, reason in check.actual) == ("fail", True)


def test_unknown_macs_make_the_total_a_lower_bound() -> None:
    analysis = trace(Apply(lambda x, conv: torch.fft.rfft2(conv(x)).abs(), CONV), IMAGE)
    assert [row.macs for row in analysis.unknown_macs] == [None]
    assert analysis.macs == 3 * 8 * 9 * 32 * 32
    assert any("MACs: at least 0.2 M (1 operations unknown)" in line for line in totals(analysis))
    (check,) = judge(Brief(max_macs=10**9), analysis)
    assert check.verdict == "fail"


def test_outputs_in_any_form() -> None:
    net = Apply(lambda x, conv: {"maps": [conv(x), None], "size": 3}, CONV)
    assert trace(net, IMAGE).macs == 3 * 8 * 9 * 32 * 32


# Functions of a tensor of any shape; many do not fit what comes before them.
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
    """Functions one after the other; those that PyTorch refuses are passed over."""

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
def test_any_chain_of_functions_can_be_followed(names: list[str]) -> None:
    net = Chain(names)
    analysis = trace(net, (3, 12, 10))
    assert analysis.parameters == measured.parameters(net)
    # PyTorch's counter does not know its own attention on CPUs.
    if not analysis.unknown_macs and "attention" not in names:
        assert analysis.macs == measured.macs(net, (3, 12, 10))


class NeedsMore(nn.Module):
    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images * mask


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.file = (line for line in "abc")

    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize(
    ("net", "what", "where", "context"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 8, 3))),
            "the forward pass fails: RuntimeError: Given groups=1, weight of size [8, 4, 3, 3]",
            "Sequential.2.0 (Conv2d)",
            "its input is 8x30x30 for one image; 2 operations ran before it, the last was 1 with output",
        ),
        (nn.Conv2d(4, 8, 3), "the forward pass fails", "Conv2d", "its input is 3x32x32 for one image; 0"),
        (
            Apply(lambda x, conv: conv(x) if x.mean() > 0 else x, CONV),
            "the forward pass branches on the values of the image",
            "Apply",
            "2 operations ran before it, the last was gt",
        ),
        (Apply(lambda x: x[x > 0]), "branches on the values", "Apply", "the last was gt"),
        (NeedsMore(), "forward takes images, mask, expected one batch of images", "NeedsMore", ""),
        (Locked(), "cannot be copied: TypeError", "Locked", ""),
    ],
)  # fmt: skip
def test_a_forward_pass_that_fails_says_how_far_it_got(
    net: nn.Module, what: str, where: str, context: str
) -> None:
    with pytest.raises(ModuleError) as caught:
        trace(net, IMAGE)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == where
    assert context in problem.context
    assert problem.fix
