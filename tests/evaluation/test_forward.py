"""The forward pass up to the logits, for nets with any end."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.evaluation.forward import forward_of, logits_of
from helpers.hand_written import ConvBlocks, Ended, FunctionsOnly, ResNet, SqueezeAndExcitation, seeded


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "log-softmax": lambda x: functional.log_softmax(x, dim=1),
    "softmax": nn.Softmax(dim=-1),
    "softmax, viewed": lambda x: x[:, :, None].softmax(1).squeeze(-1),
    "method": lambda x: x.log_softmax(-1),
    "logarithm of a softmax": lambda x: x.softmax(1).float().clamp_min(1e-38).log(),
    "nothing": lambda x: x,
}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", ENDS)
@torch.no_grad()
def test_logits_before_the_end(name: str, count: int) -> None:
    net = seeded(lambda: Ended(ENDS[name]))
    found = logits_of(net, images())(images(count))
    assert torch.equal(found, FunctionsOnly.forward(net, images(count)))


@torch.no_grad()
def test_the_logits_of_large_differences() -> None:
    """The softmax of these is 0 and 1 in fp32."""
    net = seeded(lambda: Ended(lambda x: (500 * x).softmax(1)))
    assert torch.equal(logits_of(net, images())(images()), 500 * FunctionsOnly.forward(net, images()))


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax within the net": lambda x: x.softmax(1).flip(1),
    "scaled": lambda x: 2 * x.softmax(1),
    "over the batch": lambda x: x.softmax(0),
    "by hand": lambda x: x - x.logsumexp(1, keepdim=True),
}


@pytest.mark.parametrize("name", OTHERS)
@torch.no_grad()
def test_other_ends_stay(name: str) -> None:
    net = seeded(lambda: Ended(OTHERS[name]))
    assert torch.equal(logits_of(net, images())(images()), net(images()))


@torch.no_grad()
def test_a_batch_of_one() -> None:
    net = seeded(SqueezeAndExcitation)
    assert net(images(1)).shape == (10,)
    forward = forward_of(net, images()[0])
    assert torch.allclose(forward(images()[:1]), net(images())[:1], atol=1e-5)
    other = seeded(ResNet)
    assert torch.equal(forward_of(other, images()[0])(images(1)), other(images(1)))


@torch.no_grad()
def test_the_images_are_not_modified() -> None:
    class Net(ConvBlocks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2))

    batch = images()
    forward = logits_of(seeded(Net), batch)
    assert torch.equal(forward(batch), forward(batch))
    assert torch.equal(batch, images())
