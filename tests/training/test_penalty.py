"""The L1 penalty: its gradient against autograd's, once a batch, and what it does to weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import ImageDataset
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.errors import RecipeError
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.rng import new_generator
from convsmith.training.gradients import BatchResult, GradientWorkers
from convsmith.training.penalty import penalized_weights
from convsmith.training.profiler import Profile
from helpers.markers import needs_bf16
from helpers.trained import trained

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return Session.load(load("digits")).data


def small_net() -> nn.Module:
    settings = NetSettings(norm="layer", bias=True)
    net = build(plan(parse("C8 S8:s2 / G F10"), (1, 8, 8), settings), generator=new_generator(1))
    # The subgradient at 0 is 0.
    net.get_parameter("block1.conv1.weight").data[0] = 0
    return net


def computed(
    net: nn.Module, data: ImageDataset, l1: float, *, parts: int = 1, dtype: torch.dtype = torch.float32
) -> BatchResult:
    workers = GradientWorkers(
        net,
        Pipeline(data, AugmentConfig(), seed=0, device=CPU),
        label_smoothing=0.0,
        dtype=dtype,
        num_microbatches=parts,
        profile=Profile(),
        l1=l1,
    )
    outcome = workers.compute(BatchSpec(indices=torch.arange(48), epoch=1, step=0))
    workers.close()
    return outcome


def gradients(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.grad for name, each in net.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("parts", [1, 3])
def test_the_gradient_is_that_of_loss_and_penalty(digits: ImageDataset, parts: int) -> None:
    net, plain = small_net(), small_net()
    expected = copy.deepcopy(plain)
    loss = computed(plain, digits, 0.0, parts=parts).loss
    assert torch.equal(computed(net, digits, 0.01, parts=parts).loss, loss), "the loss is without the penalty"
    penalty = sum(
        each.abs().sum()
        for name, each in expected.named_parameters()
        if name.endswith("weight") and "norm" not in name
    )
    assert isinstance(penalty, torch.Tensor)
    torch.autograd.backward(0.01 * penalty)
    without = gradients(plain)
    for name, gradient in gradients(net).items():
        own = expected.get_parameter(name).grad
        total = without[name] if own is None else without[name] + own
        assert torch.equal(gradient, total), name
        assert (own is not None) == (name.endswith("weight") and "norm" not in name), name


@needs_bf16
def test_the_penalty_is_exact_in_bf16(digits: ImageDataset) -> None:
    net, plain = small_net(), small_net()
    for each, l1 in ((net, 0.01), (plain, 0.0)):
        computed(each, digits, l1, dtype=torch.bfloat16)
    without = gradients(plain)
    for weight in ("block1.conv1.weight", "block2.linear1.weight"):
        sign = net.get_parameter(weight).detach().sign()
        assert torch.equal(gradients(net)[weight], without[weight] + 0.01 * sign)


class Summed(nn.Module):
    """Autograd returns one tensor as the gradients of both weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(images.flatten(1), self.first.weight + self.second.weight)


def test_weights_with_one_gradient_have_their_own_penalties(digits: ImageDataset) -> None:
    net = Summed()
    plain = copy.deepcopy(net)
    for each, l1 in ((net, 0.01), (plain, 0.0)):
        computed(each, digits, l1)
    without = gradients(plain)
    for layer in ("first", "second"):
        weight = net.get_parameter(f"{layer}.weight")
        assert torch.equal(
            gradients(net)[f"{layer}.weight"], without[f"{layer}.weight"] + 0.01 * weight.sign()
        )


class Odd(nn.Module):
    """Tied layers, a frozen one, one with a computed weight, and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.twin = nn.Conv2d(1, 4, 3)
        self.twin.weight = self.first.weight
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(requires_grad=False)
        self.spectral = spectral_norm(nn.Linear(4, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.up = nn.ConvTranspose2d(4, 2, 2)


def test_which_weights_are_penalised() -> None:
    net = Odd()
    weights = penalized_weights(net)
    assert len(weights) == 2
    assert weights[0] is net.first.weight
    assert weights[1] is net.up.weight


def test_a_net_without_such_weights_is_an_error(digits: ImageDataset) -> None:
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(64))
    with pytest.raises(RecipeError, match=r"train\.l1: the net has no convolution and no linear layer"):
        computed(net, digits, 0.01)


def test_standardised_weights_have_no_penalty() -> None:
    with pytest.raises(RecipeError, match="l1 has no effect on standardised weights"):
        load("digits", ["train.l1=0.01", "train.weight_standardization=true"])


def test_a_penalty_makes_weights_smaller() -> None:
    base = ["train.epochs=3", "model.net=C8 C8:s2 / G F10", "train.optimizer=adam"]
    sums = []
    for l1 in (0.0, 0.01):
        net, _ = trained(load("digits", [*base, f"train.l1={l1}"]))
        sums.append(sum(each.abs().sum().item() for each in penalized_weights(net)))
    assert sums[1] < 0.9 * sums[0]


def test_the_log_says_that_losses_are_without_the_penalty() -> None:
    session = Session.load(load("digits", ["train.l1=1e-5"]))
    line = next(line for line in session.describe() if "L1" in line)
    assert line.startswith("Note: an L1 penalty of 1e-05 times the sum of the absolute weights")
    assert line.endswith("the losses are shown without it")
    assert not any("L1" in line for line in Session.load(load("digits")).describe())
