"""Tracing has no side effects, and rejects modules that it cannot run."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.net.tables import record
from convsmith.tracing.trace import trace
from helpers import modules
from helpers.modules import Apply

IMAGE = (3, 32, 32)


class Stateful(nn.Module):
    """Changes its state and all random states in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.kept: list[Tensor] = []
        self.count: Tensor
        self.register_buffer("count", torch.zeros(()))
        self.generator = torch.Generator()
        self.last = torch.ones(2, requires_grad=True) * 2

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.count += 1
        maps: Tensor = self.drop(self.norm(self.conv(images)))
        self.kept.append(maps)
        self.last = maps
        random.random()  # noqa: S311
        np.random.rand()  # noqa: NPY002
        return maps + torch.rand(()) + torch.rand((), generator=self.generator)


def test_the_module_is_not_modified() -> None:
    net = Stateful().train()
    net.drop.eval()
    net(torch.ones(2, 3, 8, 8)).sum().backward()
    calls: list[str] = []
    net.register_forward_hook(lambda *_: calls.append("hook"))
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


def test_inference_mode_and_training_mode() -> None:
    net = modules.ConvMixer().train()
    expected = record(trace(net, IMAGE))
    with torch.inference_mode():
        assert record(trace(net, IMAGE)) == expected
    assert record(trace(net.eval().double(), IMAGE)) == expected
    assert record(trace(net.to(memory_format=torch.channels_last), IMAGE)) == expected  # type: ignore[call-overload]


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
            Apply(lambda x, conv: conv(x) if x.mean() > 0 else x, nn.Conv2d(3, 8, 3)),
            "the forward pass branches on the values of the image",
            "Apply",
            "2 operations ran before it, the last was gt",
        ),
        (Apply(lambda x: x[x > 0]), "whose size depends on the values", "Apply", "the last was gt"),
        (NeedsMore(), "forward(images, mask) cannot be called with 1 input: missing", "NeedsMore", ""),
        (Locked(), "cannot be copied: TypeError", "Locked", ""),
    ],
)  # fmt: skip
def test_failures_of_the_forward_pass(net: nn.Module, what: str, where: str, context: str) -> None:
    with pytest.raises(ModuleError) as caught:
        trace(net, IMAGE)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == where
    assert context in problem.context
    assert problem.fix
