"""What counts as the head, which branches count, and what is constant."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.briefs.structure import count_kind
from convsmith.net.module import build
from convsmith.net.tables import record, totals
from convsmith.tracing.trace import trace
from helpers import measured
from helpers.modules import Apply
from helpers.nets import analysis_of

IMAGE = (3, 32, 32)


def stem() -> list[nn.Module]:
    """Return layers with a receptive field of 7 and a map of 8x8."""
    return [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)]


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
    "adaptive max": lambda x: functional.adaptive_max_pool2d(x, 1).flatten(1),
    "window": lambda x: functional.avg_pool2d(x, 8).flatten(1),
    "window of the size": lambda x: functional.avg_pool2d(x, x.shape[2:]).flatten(1),
    "window with padding": lambda x: functional.avg_pool2d(x, 10, padding=1).flatten(1),
    "max window": lambda x: functional.max_pool2d(x, 8).flatten(1),
    "window, ceil": lambda x: functional.avg_pool2d(x, 9, ceil_mode=True, padding=1).flatten(1),
    "row, then column": lambda x: functional.avg_pool2d(functional.avg_pool2d(x, (8, 1)), (1, 8)).flatten(1),
    "mean": lambda x: x.mean((2, 3)),
    "mean, twice": lambda x: x.mean(3).mean(2),
    "sum": lambda x: x.sum((-1, -2)) / 64,
    "max, twice": lambda x: x.max(3)[0].max(2)[0],
    "amax": lambda x: x.amax((2, 3)),
    "of tokens": lambda x: x.flatten(2).mean(2),
    "1d pool of tokens": lambda x: functional.adaptive_avg_pool1d(x.flatten(2), 1).flatten(1),
    "log-sum-exp": lambda x: x.logsumexp((2, 3)),
    "norm": lambda x: functional.lp_pool2d(x, 2, 8).flatten(1),
    "product with ones": lambda x: (x.flatten(2) @ torch.ones(64, 1)).flatten(1),
    "einsum": lambda x: torch.einsum("bchw->bc", x),
    "flattened": lambda x: x.flatten(1)[:, :8],
}


@pytest.mark.parametrize("name", POOLS)
def test_the_head_begins_at_a_pool_of_the_complete_map(name: str) -> None:
    def forward(images: Tensor, first: nn.Module, second: nn.Module, last: nn.Module) -> Tensor:
        logits: Tensor = last(POOLS[name](second(first(images))))
        return logits

    analysis = trace(Apply(forward, *stem(), nn.Linear(8, 10)), IMAGE)
    assert analysis.final_receptive_field.sizes == (7, 7)
    assert analysis.global_rows == ()


@pytest.mark.parametrize(
    ("head", "field"), [("A8", 7), ("M8", 7), ("G", 7), ("A4 A2", 19), ("A4", 19), ("A7:s1", 31)]
)
def test_a_global_pool_as_a_window_in_notation(head: str, field: int) -> None:
    text = f"C8:s2 C8:s2 {head} / F10"
    spec = analysis_of(text, norm="none")
    assert spec.receptive_field == field
    assert trace(build(spec.plan), IMAGE).receptive_field == field
    assert spec.uncovered == (0, 0)


def test_a_convolution_over_the_complete_map_counts() -> None:
    # It has weights for each position: a layer of features like any other.
    net = nn.Sequential(*stem(), nn.Conv2d(8, 10, 8), nn.Flatten())
    assert trace(net, IMAGE).receptive_field == 7 + 4 * 7


@pytest.mark.parametrize(
    ("function", "counts"),
    [
        (lambda x: x.max(3)[0].max(2)[0], True),
        (lambda x: x.amax((2, 3)), True),
        (lambda x: x.flatten(2).max(-1).values, True),
        (lambda x: x.view(1, 8, 4, 2, 4, 2).amax((3, 5)).mean((2, 3)), True),
        (lambda x: torch.max(x, dim=1, keepdim=True)[0].expand(-1, 8, -1, -1).mean((2, 3)), False),
        (lambda x: x.mean((2, 3)), False),
    ],
)
def test_a_maximum_over_positions_is_max_pooling(function: Callable[[Tensor], Tensor], counts: bool) -> None:
    net = Apply(lambda x, first, second: function(second(first(x))), *stem())
    assert bool(count_kind(trace(net, IMAGE).rows, "max-pooling")) is counts


def test_unused_branches_do_not_count() -> None:
    def forward(images: Tensor, used: nn.Module, unused: nn.Module) -> Tensor:
        unused(images).relu()
        output: Tensor = used(images)
        return output

    net = Apply(forward, nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 61, padding=30))
    analysis = trace(net, IMAGE)
    assert analysis.receptive_field == 3
    assert [analysis.rows[index].operation for index in analysis.unused_rows] == ["Conv2d", "ReLU"]
    assert all("the result is unused" in analysis.rows[index].notes for index in analysis.unused_rows)
    # It is executed, so its MACs count; its weights are part of the net.
    assert analysis.macs == measured.macs(net, IMAGE)
    assert analysis.parameters == measured.parameters(net)


def test_every_returned_map_counts() -> None:
    net = Apply(
        lambda x, small, large: {"first": [small(x)], "second": large(x)},
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, 9),
    )
    analysis = trace(net, IMAGE)
    assert (analysis.receptive_field, analysis.unused_rows) == (9, ())


def test_an_unknown_branch_that_is_unused_does_not_count() -> None:
    def forward(images: Tensor, conv: nn.Module) -> Tensor:
        torch.linalg.svdvals(conv(images))
        output: Tensor = conv(images)
        return output

    assert trace(Apply(forward, nn.Conv2d(3, 4, 3)), IMAGE).receptive_field == 3


def test_an_unknown_operator_after_pooling_leaves_the_receptive_field_known() -> None:
    net = Apply(lambda x, conv: torch.linalg.svdvals(conv(x).mean((2, 3)).view(1, 2, 2)), nn.Conv2d(3, 4, 3))
    analysis = trace(net, IMAGE)
    assert (analysis.receptive_field, analysis.macs) == (3, None)


CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros_like": torch.zeros_like,
    "ones_like": torch.ones_like,
    "full_like": lambda x: torch.full_like(x, 2.0),
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "randint_like": lambda x: torch.randint_like(x, 4),
    "new_zeros": lambda x: x.new_zeros(x.shape),
    "new_ones": lambda x: x.new_ones(x.shape),
    "new_full": lambda x: x.new_full(x.shape, 1.0),
    "new_tensor": lambda x: x.new_tensor([1.0]).expand_as(x),
    "zeroed": lambda x: x.clone().zero_(),
    "filled": lambda x: x.clone().fill_(3),
    "noise": lambda x: torch.empty_like(x).normal_(),
    "bernoulli": lambda x: torch.empty_like(x).bernoulli_(0.5),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_with_the_shape_of_the_image(name: str) -> None:
    net = Apply(
        lambda x, conv: torch.cat([conv(x), CONSTANTS[name](conv(x))], 1), nn.Conv2d(3, 4, 3, padding=1)
    )
    analysis = trace(net, IMAGE)
    assert analysis.final_receptive_field.sizes == (3, 3)
    assert analysis.macs == 2 * 3 * 4 * 9 * 32 * 32
    alone = trace(Apply(lambda x, conv: CONSTANTS[name](conv(x)) * x.mean(), nn.Conv2d(3, 4, 3)), IMAGE)
    assert alone.receptive_field == 1


class Places(nn.Module):
    """Layers that the image does not feed."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 8))
        self.places: Tensor
        self.register_buffer("places", torch.rand(1024, 2))
        self.left = nn.Parameter(torch.rand(8, 2))
        self.right = nn.Parameter(torch.rand(2, 27))
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.conv2d(images, (self.left @ self.right).view(8, 3, 3, 3), padding=1)
        sums: Tensor = maps + self.conv(images) + self.mlp(self.places).t().reshape(1, 8, 32, 32)
        return sums


def test_macs_of_what_the_image_does_not_feed() -> None:
    net = Places()
    analysis = trace(net, IMAGE)
    assert analysis.macs == measured.macs(net, IMAGE)
    rows = {row.name: (row.parameters, row.macs, row.out_field.constant) for row in analysis.rows}
    assert rows["mlp.0"] == (2 * 64 + 64, 1024 * 2 * 64, True)
    assert rows["mlp.2"] == (64 * 8 + 8, 1024 * 64 * 8, True)
    assert rows["MatMul"] == (8 * 2 + 2 * 27, 8 * 2 * 27, True)
    assert rows["Conv2d"] == (0, 3 * 8 * 9 * 1024, False)
    assert {row.parameters for row in analysis.rows if row.operation == "Add"} == {0}
    assert analysis.unused_rows == ()
    assert analysis.parameters == measured.parameters(net)
    assert "it does not depend on the image" in analysis.rows[0].notes


GLOBAL: dict[str, Callable[[Tensor, nn.Module, nn.Module], Tensor]] = {
    "dynamic weights": lambda x, conv, make: functional.conv2d(
        conv(x), make(conv(x).mean((2, 3))).view(4, 4, 3, 3), padding=1
    ),
    "squeeze and excitation": lambda x, conv, make: (
        conv(x) * make(conv(x).mean((2, 3)))[:, :4, None, None].sigmoid()
    ),
    "global response norm": lambda x, conv, make: conv(x) * conv(x).norm(dim=(2, 3), keepdim=True),
    "instance norm": lambda x, conv, make: functional.instance_norm(conv(x)),
    "group norm": lambda x, conv, make: functional.group_norm(conv(x), 2),
    "layer norm over the map": lambda x, conv, make: functional.layer_norm(conv(x), (4, 32, 32)),
    "spatial softmax": lambda x, conv, make: conv(x) * conv(x).flatten(2).softmax(2).view(1, 4, 32, 32),
    "attention": lambda x, conv, make: conv(x) + functional.scaled_dot_product_attention(
        *[conv(x).flatten(2).mT] * 3
    ).mT.view(1, 4, 32, 32),
    "attention by hand": lambda x, conv, make: conv(x) + (
        (conv(x).flatten(2).mT @ conv(x).flatten(2)).softmax(-1) @ conv(x).flatten(2).mT
    ).mT.view(1, 4, 32, 32),
    "Fourier": lambda x, conv, make: conv(x) + torch.fft.irfft2(torch.fft.rfft2(conv(x)) ** 2),
    "a pooled branch, resized": lambda x, conv, make: torch.cat(
        [conv(x), functional.interpolate(functional.adaptive_avg_pool2d(conv(x), 1), size=32)], 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GLOBAL)
def test_the_totals_state_what_sees_the_full_image(name: str) -> None:
    net = Apply(GLOBAL[name], nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 144))
    analysis = trace(net, IMAGE)
    assert analysis.receptive_field in {3, 5}
    assert analysis.global_rows
    assert any("the full image through" in line for line in totals(analysis))
    assert record(analysis)["totals"]["full_image_through"]
    changed = measured.positive(net)
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(changed(images)[0, :, 16, 16].sum(), images)
    assert (gradient.abs().sum((0, 1)) > 0).all()


PARTIAL: dict[str, tuple[Callable[[Tensor, nn.Module, nn.Module], Tensor], str]] = {
    "stripe pooling": (
        lambda x, conv, make: conv(x) * conv(x).mean(3, keepdim=True).sigmoid(),
        "the full width through mean",
    ),
    "coordinate attention": (
        lambda x, conv, make: conv(x) * conv(x).mean(3, keepdim=True) * conv(x).amax(2, keepdim=True),
        "the full height through amax, the full width through mean",
    ),
    "attention along rows": (
        lambda x, conv, make: functional.scaled_dot_product_attention(
            *[conv(x).permute(0, 2, 3, 1)] * 3
        ).permute(0, 3, 1, 2),
        "the full width through MatMul",
    ),
    "products along columns": (
        lambda x, conv, make: make(conv(x).transpose(2, 3)).transpose(2, 3),
        "the full height through layers.1",
    ),
    "Fourier along rows": (
        lambda x, conv, make: torch.fft.rfft(conv(x)).abs(),
        "the full width through Fourier transform",
    ),
    "attention without a residual": (
        lambda x, conv, make: functional.scaled_dot_product_attention(*[conv(x).flatten(2).mT] * 3),
        "the full image through MatMul",
    ),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_the_totals_state_what_sees_one_axis(name: str) -> None:
    function, text = PARTIAL[name]
    net = Apply(function, nn.Conv2d(3, 4, 3, padding=1), nn.Linear(32, 32))
    analysis = trace(net, IMAGE)
    assert analysis.receptive_field_text == f"3 pixels along local paths, {text}"


@pytest.mark.parametrize(
    "function",
    [
        lambda x, conv, make: conv(x).mean(3).mean(2),
        lambda x, conv, make: conv(x).mean(3).flatten(1),
        lambda x, conv, make: functional.avg_pool2d(functional.avg_pool2d(conv(x), (1, 32)), (32, 1)),
    ],
)
def test_a_pool_along_one_axis_is_a_head(function: Callable[..., Tensor]) -> None:
    net = Apply(function, nn.Conv2d(3, 4, 3, padding=1), nn.Linear(32, 32))
    assert trace(net, IMAGE).receptive_field_text == "3 pixels"
