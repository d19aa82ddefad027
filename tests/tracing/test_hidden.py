"""Tensors that a forward pass computes with and that are neither parameters nor buffers."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.net.tables import record, totals
from convsmith.tracing.trace import trace

WEIGHTS = torch.randn(8, 8)
STORE = SimpleNamespace(weights=[torch.randn(8, 8)])
ARRAY = np.ones((8, 8), np.float32)


class Hiding(nn.Module):
    """A product with a matrix from elsewhere."""

    def __init__(self, matrix: Callable[["Hiding"], Tensor]) -> None:
        super().__init__()
        self.plain = torch.randn(8, 8)
        self.nested = {"a": [torch.randn(8, 8)]}
        self.holder = SimpleNamespace(table=torch.randn(8, 8))
        self.register_buffer("kept", torch.randn(8, 8))
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.matrix = matrix

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.matrix(self)


def of_closure() -> Callable[[Hiding], Tensor]:
    matrix = torch.randn(8, 8)
    return lambda _: matrix


def of_default() -> Callable[..., Tensor]:
    return lambda _, matrix=WEIGHTS + 1: matrix


def seeded(_: Hiding) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(8, 8)


def from_generator(_: Hiding) -> Tensor:
    return torch.empty(8, 8).normal_(generator=torch.Generator().manual_seed(1))


HIDDEN: list[tuple[Callable[..., Tensor], str]] = [
    (lambda net: net.plain, "plain"),
    (lambda net: (net.plain * 2).t().contiguous(), "plain"),
    (lambda net: net.nested["a"][0], "nested['a'][0]"),
    (lambda net: net.holder.table, "holder.table"),
    (lambda net: WEIGHTS, "WEIGHTS"),
    (lambda net: STORE.weights[0], "STORE.weights[0]"),
    (lambda net: torch.from_numpy(ARRAY), "ARRAY"),
    (of_closure(), "matrix"),
    (of_default(), "matrix(matrix)"),
    (lambda net: torch.tensor([[0.5] * 8] * 8), "a constant of 8x8"),
    (seeded, "a constant of 8x8"),
    (partial(lambda net, table: table, table=WEIGHTS + 2), "matrix(table)"),
    (from_generator, "a constant of 8x8"),
]


@pytest.mark.parametrize(("matrix", "name"), HIDDEN, ids=[name for _, name in HIDDEN])
def test_hidden_tensors_are_named(matrix: Callable[..., Tensor], name: str) -> None:
    (hidden,) = trace(Hiding(matrix), (8,)).hidden
    assert (hidden.name, hidden.size) == (name, 64)
    assert hidden.location is not None
    assert hidden.location.file == "tests/tracing/test_hidden.py"


@pytest.mark.parametrize(
    "matrix",
    [
        lambda net: net.weight,
        lambda net: net.kept,
        lambda net: net.kept.view(8, 8).t(),
        lambda net: net.weight.data,
        lambda net: net.weight / net.weight.norm(),
        lambda net: torch.eye(8),
        lambda net: torch.arange(64.0).view(8, 8),
        lambda net: torch.randn(8, 8),
        lambda net: torch.ones(8, 8) * 3,
    ],
)
def test_members_numbers_and_noise_are_not_hidden(matrix: Callable[..., Tensor]) -> None:
    assert trace(Hiding(matrix), (8,)).hidden == ()


def test_tensors_that_are_not_used_are_not_hidden() -> None:
    net: Any = Hiding(lambda net: net.weight)
    net.forward = lambda features: (net.plain.sum(), features @ net.weight)[1]
    assert trace(net, (8,)).hidden == ()


LAYER = nn.Linear(8, 8)


def test_a_layer_of_the_file_is_unregistered() -> None:
    analysis = trace(Hiding(lambda _: LAYER.weight * 1), (8,))
    assert analysis.unregistered == (("LAYER.weight", 64),)
    net: Any = Hiding(lambda net: net.weight)
    net.forward = lambda features: LAYER(features @ net.weight)
    analysis = trace(net, (8,))
    assert analysis.unregistered == (("LAYER.weight", 64), ("LAYER.bias", 8))
    assert (analysis.rows[-1].name, analysis.parameters) == ("Linear", 64 + 72)


class Creating(nn.Module):
    """It makes a layer in each pass."""

    def forward(self, features: Tensor) -> Any:
        return nn.Linear(8, 4)(features)


def test_a_layer_that_forward_makes_is_unregistered() -> None:
    analysis = trace(Creating(), (8,))
    assert [count for _, count in analysis.unregistered] == [32, 4]
    assert analysis.rows[0].name == "Linear"


def test_a_summary_shows_them() -> None:
    analysis = trace(Hiding(lambda net: net.plain), (8,))
    text = "\n".join(totals(analysis))
    assert "Buffers: 64 values; hidden tensors: 64 values" in text
    assert "Hidden tensors, neither parameters nor buffers: plain (64, tests/tracing/test_hidden.py:" in text
    (tensor,) = record(analysis)["totals"]["hidden_tensors"]
    assert (tensor["name"], tensor["size"], tensor["location"]["file"]) == (
        "plain",
        64,
        "tests/tracing/test_hidden.py",
    )


def test_the_random_state_is_restored() -> None:
    net = Hiding(seeded)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trace(net, (8,))
    assert torch.equal(torch.get_rng_state(), before)
