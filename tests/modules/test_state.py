"""Buffers of nets and their copies."""

import pytest
import torch
from torch import nn

from convsmith.modules.state import BufferSnapshot, Layout, copy_buffers, copy_state, merge_buffers, state_of
from convsmith.tracing.copies import copy_module
from helpers import odd_nets


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("steps", torch.tensor(0), persistent=False)
        self.register_buffer("table", None)
        self.mean: torch.Tensor
        self.steps: torch.Tensor
        self.table: torch.Tensor | None


def test_means_of_buffers_and_counters_of_the_first() -> None:
    net = Net()
    copies = [copy_module(net) for _ in range(3)]
    for number, copied in enumerate(copies):
        assert isinstance(copied, Net)
        copied.mean.fill_(number)
        copied.steps = torch.tensor(5 - number)
        copied.table = torch.full((2,), float(number))
    mean = net.mean
    merge_buffers(copies, net)
    assert net.mean is mean
    assert (net.mean.tolist(), net.steps.item()) == ([1.0] * 3, 5)
    assert net.table is not None
    assert net.table.tolist() == [1.0, 1.0]


def test_equal_values_are_not_rounded() -> None:
    net, value = Net(), torch.tensor([0.1, 1 / 3, 1e-30])
    copies = [copy_module(net) for _ in range(3)]
    for copied in copies:
        copied.get_buffer("mean").copy_(value)
    merge_buffers(copies, net)
    assert torch.equal(net.mean, value)


def test_buffers_of_another_shape_are_replaced_by_a_copy() -> None:
    source, target = Net(), Net()
    source.mean, source.table = torch.ones(5), torch.ones(2)
    copy_buffers(source, target)
    assert target.mean.tolist() == [1.0] * 5
    assert target.table is not source.table
    source.table = None
    copy_buffers(source, target)
    assert target.table is None


def test_a_snapshot_restores_the_same_tensors() -> None:
    net = odd_nets.OwnStatistics()
    before, values = dict(net.named_buffers()), {name: each.clone() for name, each in net.named_buffers()}
    snapshot = BufferSnapshot([net])
    assert snapshot.changed() == []
    net(torch.randn(4, 1, 8, 8))
    assert snapshot.changed() == [net.bn1]
    snapshot.restore()
    assert snapshot.changed() == []
    for name, tensor in net.named_buffers():
        assert tensor is before[name]
        assert torch.equal(tensor, values[name])


@pytest.mark.parametrize("kind", odd_nets.ODD_NETS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:Lazy modules")
def test_a_copied_state_computes_the_same(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    nets, images = [kind(), kind()], torch.randn(6, 1, 8, 8)
    for net in nets:
        net.float()(images)
    source, target = nets
    assert state_of(source).keys() >= dict(source.named_parameters()).keys()
    copy_state(source, target)
    for net in nets:
        net.eval()
    assert torch.equal(source(images), target(images))


def test_a_table_that_a_pass_creates_is_no_state() -> None:
    net = odd_nets.Mask()
    layout, names = Layout(net), state_of(net).keys()
    net(torch.randn(2, 1, 8, 8))
    assert "cache" in state_of(net)
    assert layout.select(state_of(net)).keys() == names
