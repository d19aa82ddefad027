"""Dropouts as layers and functions, judged as they are in training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.net.rows import ALWAYS_ACTIVE, TRAINING_ONLY
from convsmith.tracing.trace import trace

IMAGE = (4, 6, 6)


class Drops(nn.Module):
    def __init__(self, drop: Callable[..., Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.layer = nn.Dropout(0.25)
        self.drop = drop

    def forward(self, maps: Tensor) -> Any:
        return self.second(self.drop(self, self.first(maps)))


@pytest.mark.parametrize(
    ("drop", "operation", "inactive", "notes"),
    [
        (lambda net, x: net.layer(x), "Dropout", "", ()),
        (lambda net, x: functional.dropout(x, 0.25, training=net.training), "Dropout", "", ()),
        (lambda net, x: functional.dropout2d(x, 0.25, net.training, True), "Dropout2d", "", ()),
        (lambda net, x: functional.alpha_dropout(x, 0.25, net.training), "AlphaDropout", "", ()),
        (lambda net, x: torch.dropout(x, 0.25, net.training), "Dropout", "", ()),
        (lambda net, x: net.layer.forward(x), "Dropout", "", ()),
        (lambda _, x: functional.dropout(x, 0.25), "Dropout", "", (ALWAYS_ACTIVE,)),
        (lambda _, x: functional.dropout2d(x, 0.25), "Dropout2d", "", (ALWAYS_ACTIVE,)),
        (
            lambda _, x: functional.dropout(x, 0.25, training=False),
            "Dropout",
            "it is off in training too",
            (),
        ),
        (lambda net, x: net.layer(x) if net.training else x, "Dropout", "", (TRAINING_ONLY,)),
        (
            lambda net, x: functional.dropout(x, 0.25) if net.training else x,
            "Dropout",
            "",
            (TRAINING_ONLY,),
        ),
    ],
)
def test_forms_of_dropout(
    drop: Callable[..., Tensor], operation: str, inactive: str, notes: tuple[str, ...]
) -> None:
    rows = trace(Drops(drop), IMAGE).rows
    assert [row.sources for row in rows] == [(-1,), (0,), (1,)]
    row = rows[1]
    assert (row.operation, row.inactive, row.notes) == (operation, inactive, notes)
    assert (row.probability, row.in_shape, row.out_shape) == (0.25, IMAGE, IMAGE)


def test_an_idle_layer_is_none_that_training_calls() -> None:
    assert [each.name for each in trace(Drops(lambda _, x: x), IMAGE).idle] == ["layer"]
    for drop in (
        lambda net, x: net.layer(x) if net.training else x,
        lambda net, x: net.layer.forward(x),
    ):
        assert trace(Drops(drop), IMAGE).idle == ()


def test_a_residual_around_a_dropout_joins_two_paths() -> None:
    net = Drops(lambda net, x: x + net.layer(x))
    add = next(row for row in trace(net, IMAGE).rows if row.operation == "Add")
    assert add.sources == (0, 1)


def test_a_pass_in_training_that_fails_changes_nothing() -> None:
    def drop(net: Drops, maps: Tensor) -> Tensor:
        if net.training:
            raise RuntimeError
        return functional.dropout(maps, 0.25, training=net.training)

    row = trace(Drops(drop), IMAGE).rows[1]
    assert (row.operation, row.inactive) == ("Dropout", "")


def test_layers_in_training_mode_are_left_as_they_are() -> None:
    net = Drops(lambda net, x: functional.dropout(x, 0.25, training=net.training))
    net.train()
    net.layer.eval()
    trace(net, IMAGE)
    assert (net.training, net.first.training, net.layer.training) == (True, True, False)
