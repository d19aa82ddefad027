"""Layers that a forward pass never calls."""

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional

from convsmith.net.tables import record, totals
from convsmith.tracing.trace import trace

IMAGE = (4, 6, 6)


class Net(nn.Module):
    """It never calls `bn2` and `block.1`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 1)
        self.bn1 = nn.BatchNorm2d(4)
        self.bn2 = nn.BatchNorm2d(4)
        self.block = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3)])
        self.weights = nn.Conv2d(4, 4, 1)
        self.pool = nn.MaxPool2d(2)
        self.loss = nn.CrossEntropyLoss()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, maps: Tensor) -> Any:
        maps = self.block[0](self.bn1(self.conv1(maps)))
        # Weights are used without a call, and a layer by its method.
        maps = self.pool.forward(functional.conv2d(maps, self.weights.weight))
        tokens = maps.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0]


def test_idle_layers() -> None:
    analysis = trace(Net(), IMAGE)
    norm, convolution = analysis.idle
    assert (norm.name, norm.operation, norm.parameters, norm.width, norm.after) == (
        "bn2",
        "BatchNorm2d",
        8,
        4,
        "bn1",
    )
    assert (convolution.name, convolution.parameters, convolution.width) == ("block.1", 4 * 8 * 9 + 8, 8)
    start = Net.__init__.__code__.co_firstlineno
    assert [each.definition.line - start for each in analysis.idle if each.definition] == [4, 5]
    assert sum(count for _, count in analysis.unused) == 8 + 296 + 4


def test_a_summary_lists_them() -> None:
    analysis = trace(Net(), IMAGE)
    (line,) = (each for each in totals(analysis) if each.startswith("Layers that forward never calls"))
    assert "bn2 (tests/tracing/test_idle.py:" in line
    assert [each["name"] for each in record(analysis)["totals"]["idle_layers"]] == ["bn2", "block.1"]


@pytest.mark.parametrize("name", ["bn2", "block.1"])
def test_a_layer_that_is_called_is_not_idle(name: str) -> None:
    net = Net()
    layer = net.get_submodule(name)
    forward = net.forward
    # The result is unused: the layer is called all the same.
    net.forward = lambda maps: (layer(maps), forward(maps))[1]  # type: ignore[method-assign]
    analysis = trace(net, IMAGE)
    assert name not in {each.name for each in analysis.idle}
    row = next(row for row in analysis.rows if row.name == name)
    assert row.inactive == "the result is unused"


def test_a_shared_layer_is_called() -> None:
    first = nn.Conv2d(4, 4, 1)
    net = nn.Sequential(first, nn.Sequential(first))
    assert trace(net, IMAGE).idle == ()
