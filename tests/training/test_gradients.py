"""Gradients of microbatches, against PyTorch's of the batch."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.dataset import ImageDataset
from convsmith.data.normalize import Normalizer
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.device import torch_threads
from convsmith.system.rng import new_generator
from convsmith.training.gradients import GradientWorkers
from convsmith.training.kernels.dropout import Dropout
from convsmith.training.profiler import Profile

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return Session.load(load("digits")).data


def gradient_workers(
    net: nn.Module, data: ImageDataset, parts: int, augment: AugmentConfig | None = None
) -> GradientWorkers:
    return GradientWorkers(
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        Pipeline(data, augment or AugmentConfig(), seed=0, device=CPU),
        label_smoothing=0.1,
        dtype=torch.float32,
        num_microbatches=parts,
        profile=Profile(),
    )


def small_net(norm: str = "batch", dropout: float = 0.0) -> nn.Module:
    settings = NetSettings.model_validate({"norm": norm, "dropout": dropout})
    return build(plan(parse("C8 S8:s2 / G F10"), (1, 8, 8), settings), generator=new_generator(1))


def batch(indices: Tensor, step: int = 0) -> BatchSpec:
    return BatchSpec(indices=indices, epoch=1, step=step)


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_microbatch_gradients_equal_batch_gradients(digits: ImageDataset, parts: int) -> None:
    """Without batch norm, the gradient does not depend on the microbatches. The reference is PyTorch's."""
    net = small_net(norm="none")
    expected = copy.deepcopy(net)
    indices = torch.arange(50)
    images = torch.from_numpy(digits.train.images[:50]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(digits.train.labels[:50])
    logits = expected((images - digits.mean[0]) / digits.std[0])
    loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    outcome = gradient_workers(net, digits, parts).compute(batch(indices))
    assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert outcome.correct.item() == (logits.argmax(1) == labels).sum().item()
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


class TwoBiases(nn.Module):
    """Autograd returns the same gradient tensor for both biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(10)), nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] + (self.first + self.second)


def test_shared_gradient_tensors_are_not_summed_twice(digits: ImageDataset) -> None:
    whole, halves = TwoBiases(), TwoBiases()
    for net, parts in ((whole, 1), (halves, 2)):
        gradient_workers(net, digits, parts).compute(batch(torch.arange(40)))
    for one, other in zip(whole.parameters(), halves.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


def test_result_does_not_depend_on_the_number_of_threads(digits: ImageDataset) -> None:
    before, states = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        net = small_net(dropout=0.2)
        workers = gradient_workers(net, digits, parts=4)
        assert workers.num_workers == threads
        workers.train()
        for step in range(3):
            workers.compute(batch(torch.arange(64) + 64 * step, step))
        workers.sync_statistics()
        workers.close()
        states.append([*net.buffers(), *(parameter.grad for parameter in net.parameters())])
    torch.set_num_threads(before)
    for one, two in zip(*states, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("threads", [1, 2])
def test_prefetched_batches_are_identical(
    digits: ImageDataset, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch is loaded once, whether or not it is the one that follows."""
    batches = [batch(torch.arange(64) + 64 * step, step) for step in range(3)]
    stranger = batch(torch.arange(64), 9)
    ends = []
    with torch_threads(threads):
        ways: list[list[BatchSpec | None]] = [[None] * 3, [*batches[1:], None], [stranger, stranger, None]]
        for following in ways:
            net = small_net(dropout=0.2)
            workers = gradient_workers(net, digits, parts=2)
            taken, take = list[int](), workers.pipeline.images.take
            monkeypatch.setattr(
                workers.pipeline.images,
                "take",
                lambda some, taken=taken, take=take: taken.append(len(some)) or take(some),
            )
            workers.train()
            for now, coming in zip(batches, following, strict=True):
                workers.compute(now, coming)
            workers.close()
            assert taken == [32] * 2 * (3 + following.count(stranger))
            ends.append([*(parameter.grad for parameter in net.parameters())])
    for alone, ahead, other in zip(*ends, strict=True):
        assert torch.equal(alone, ahead)
        assert torch.equal(alone, other)


def test_statistics_are_the_mean_over_microbatches(digits: ImageDataset) -> None:
    net = small_net()
    workers = gradient_workers(net, digits, parts=2)
    workers.train()
    for step in range(2):
        workers.compute(batch(torch.arange(40) + 40 * step, step))
    assert torch.equal(net.get_buffer("block1.norm1.running_mean"), torch.zeros(8))
    workers.sync_statistics()
    normalize, conv = Normalizer.of(digits, CPU), net.get_submodule("block1.conv1")
    mean = torch.zeros(8)
    for step in range(2):
        halves = [torch.arange(20) + 40 * step + 20 * half for half in range(2)]
        seen = [conv(normalize(workers.pipeline.images.take(half)[0])).mean((0, 2, 3)) for half in halves]
        mean = 0.9 * mean + 0.1 * torch.stack(seen).mean(0)
    assert torch.allclose(net.get_buffer("block1.norm1.running_mean"), mean, atol=1e-5)
    assert net.get_buffer("block1.norm1.num_batches_tracked") == 2


def test_replicas_share_parameters(digits: ImageDataset) -> None:
    net = small_net(dropout=0.1)
    for parts in (1, 2):
        workers = gradient_workers(net, digits, parts)
        for replica in workers.replicas:
            pairs = zip(net.parameters(), replica.parameters(), strict=True)
            assert all(own is other for own, other in pairs)
            shared = [own is other for own, other in zip(net.buffers(), replica.buffers(), strict=True)]
            assert set(shared) == {parts == 1}
            assert any(isinstance(module, Dropout) for module in replica.modules())
        workers.close()
        assert not any(isinstance(module, Dropout) for module in net.modules())


def test_mixing_changes_the_loss(digits: ImageDataset) -> None:
    recipe = load("digits", ["augment.mix=mixup", "augment.mix.p=1.0"])
    losses = [
        gradient_workers(small_net(), digits, 1, augment).compute(batch(torch.arange(64))).loss.item()
        for augment in (None, AugmentConfig(mix=recipe.augment.mix))
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("max_norm", [0.01, 0.5, 1000.0])
@pytest.mark.parametrize("parts", [1, 3])
def test_gradients_are_clipped_as_pytorch_does(digits: ImageDataset, max_norm: float, parts: int) -> None:
    net = small_net(norm="none")
    workers = gradient_workers(net, digits, parts)
    workers.compute(batch(torch.arange(50)))
    expected = copy.deepcopy(net)
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None
        theirs.grad = ours.grad.clone()
    norm = nn.utils.clip_grad_norm_(expected.parameters(), max_norm)
    assert torch.equal(workers.norm(), norm)
    workers.clip(max_norm, workers.norm())
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
        assert ours.grad.stride() == ours.stride()


def test_a_gradient_that_two_parameters_share_is_clipped_once(digits: ImageDataset) -> None:
    net = TwoBiases()
    workers = gradient_workers(net, digits, 1)
    workers.compute(batch(torch.arange(20)))
    workers.clip(1e-3, workers.norm())
    assert workers.norm().item() == pytest.approx(1e-3, rel=1e-2)
