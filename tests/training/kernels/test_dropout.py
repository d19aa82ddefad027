"""Dropout against its definition."""

import copy

import pytest
import torch
from torch import nn

from convsmith.training.kernels.dropout import Dropout, use_fast_dropout, use_plain_dropout


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.02, 0.5])
def test_dropout_rate_and_scale(dtype: torch.dtype, p: float) -> None:
    ones = torch.ones(40, 25, 7, 11, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    out = Dropout(p, torch.Generator().manual_seed(1))(ones)
    dropped = (out == 0).float().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / ones.numel()) ** 0.5
    assert torch.equal(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - p)))
    assert out.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(out.sum(), ones)
    assert torch.equal(gradient, out.detach())


def test_dropout_masks_are_independent() -> None:
    dropout = Dropout(0.5, torch.Generator().manual_seed(2))
    first, second = (dropout(torch.ones(4, 8, 64, 64)) > 0 for _ in range(2))
    for a, b in ((first, second), (first[..., 1:], first[..., :-1]), (first[1:], first[:-1])):
        assert abs((a == b).float().mean().item() - 0.5) < 0.01


def test_dropout_in_evaluation_mode_is_the_identity() -> None:
    values = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


def test_only_nn_dropout_is_replaced() -> None:
    net = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout2d(0.2), nn.Dropout(0.1)))
    net[1].eval()
    use_fast_dropout(net)
    found = [module for module in net.modules() if not isinstance(module, nn.Sequential)]
    assert [type(module) for module in found] == [Dropout, nn.Dropout2d, Dropout]
    assert [module.training for module in found] == [True, False, False]
    assert [module.p for module in found if isinstance(module, Dropout)] == [0.3, 0.1]


def test_all_references_to_a_dropout_are_to_the_same_one() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Dropout(0.5)
            self.plain = [self.first]

    net, seen = Net(), list[nn.Module]()
    net.first.register_forward_hook(lambda layer, _, __: seen.append(layer))
    use_fast_dropout(net)
    for each in (net.first, net.second, net.plain[0]):
        each(torch.ones(2))
    assert [type(each) for each in seen] == [Dropout] * 3
    use_plain_dropout(net)
    assert type(net.second) is nn.Dropout


def test_copies_have_a_generator_in_the_same_state() -> None:
    net = nn.Sequential(nn.Dropout(0.5))
    use_fast_dropout(net, torch.Generator().manual_seed(3))
    copied, ones = copy.deepcopy(net), torch.ones(100)
    assert torch.equal(copied(ones), net(ones))


@pytest.mark.parametrize("p", [0.25, 1.0])
def test_dropout_in_place(p: float) -> None:
    ones = torch.ones(1000)
    dropped = Dropout(p, torch.Generator().manual_seed(1), inplace=True)(ones)
    assert torch.equal(dropped, ones)
    assert set(ones.tolist()) == ({0.0} if p == 1 else {0.0, torch.tensor(1 / (1 - p)).item()})


def test_the_masks_of_strided_values_are_of_the_generator() -> None:
    """A slice, and numbers of 64 bits: nothing is drawn from PyTorch's global generator."""
    for values in (torch.ones(8, 6)[:, ::2], torch.ones(8, 3, dtype=torch.float64)):
        before = torch.get_rng_state()
        results = [Dropout(0.5, torch.Generator().manual_seed(4))(values) for _ in range(2)]
        assert torch.equal(*results)
        assert torch.equal(before, torch.get_rng_state())
