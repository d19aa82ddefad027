"""Batches that are shared out over cores and processes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.system.device import torch_threads
from convsmith.training.averages import WeightAverage
from convsmith.training.batch_sharing import BatchSharing
from convsmith.training.metrics import evaluate_split
from convsmith.training.process_group import ProcessGroup


def normalizer() -> Normalizer:
    return Normalizer(mean=torch.full((1, 1, 1, 1), 0.5), std=torch.full((1, 1, 1, 1), 0.3))


def split(count: int) -> Split:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    return Split(images=pixels, labels=random.integers(0, 5, count))


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_evaluation_is_that_of_one_batch_after_the_other(workers: int) -> None:
    net, images = small_net(), split(2501)
    with torch_threads(1):
        expected = evaluate_split(net, images, normalizer(), torch.float32)
    with torch_threads(2):
        shared = evaluate_split(net, images, normalizer(), torch.float32, BatchSharing(workers=workers))
        assert torch.get_num_threads() == 2
    assert shared == expected
    assert net.training


class RemembersInput(nn.Module):
    """A module whose forward pass would go wrong if two threads shared it."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        total = x.flatten(1).sum(1, keepdim=True)
        assert self.x is x
        return total * torch.arange(5.0)


def test_each_thread_has_a_module_of_its_own() -> None:
    images = split(4000)
    expected = evaluate_split(RemembersInput(), images, normalizer(), torch.float32)
    found = evaluate_split(RemembersInput(), images, normalizer(), torch.float32, BatchSharing(workers=4))
    assert found.correct == expected.correct


@pytest.mark.parametrize("count", [300, 1001, 1600])
def test_shared_statistics_are_those_of_one_batch_after_the_other(count: int) -> None:
    """Both are means over images; they are rounded in different orders."""
    net, images = small_net(), split(count)
    results = []
    for sharing in (None, BatchSharing(workers=1), BatchSharing(workers=3)):
        average = WeightAverage(net, 0.9)
        average.measure_statistics(net, images, normalizer(), torch.float32, sharing=sharing)
        results.append(dict(average.net.named_buffers()))
    expected, one, three = results
    for name, buffer in expected.items():
        assert torch.allclose(one[name], buffer, rtol=1e-5, atol=1e-7), name
        assert torch.equal(one[name], three[name]), name


class OwnRule(nn.Module):
    """Statistics that are no mean over images: each batch depends on those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor
        self.register_buffer("last", torch.zeros(1))
        self.linear = nn.Linear(1, 5)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        if self.training:
            self.last = 0.5 * self.last + mean.mean().detach()
        return self.linear(mean[:, None])  # type: ignore[no-any-return]


def test_statistics_with_a_rule_of_their_own_are_measured_in_order() -> None:
    net, images, results = OwnRule(), split(1600), []
    with torch_threads(1):
        for sharing in (None, BatchSharing(workers=3)):
            average = WeightAverage(net, 0.9)
            average.measure_statistics(net, images, normalizer(), torch.float32, sharing=sharing)
            results.append(average.net.get_buffer("last"))
    assert torch.equal(*results)


def test_a_round_is_collected_in_the_order_of_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes of two threads share 7 batches: the second round has one batch, of the first."""
    sizes = [3, 3, 3, 3, 3, 3, 2]
    groups = [ProcessGroup(rank=rank, size=3, backend="gloo") for rank in range(3)]
    sent: dict[int, list[Tensor]] = {}

    def compute(_: nn.Module, index: int) -> Tensor:
        return torch.full((sizes[index], 2), float(index))

    # What each process sends does not depend on what it receives: first record it, then exchange it.
    monkeypatch.setattr(ProcessGroup, "maximum", lambda self, value: 2)

    def record(self: ProcessGroup, own: Tensor) -> Tensor:
        sent.setdefault(self.rank, []).append(own)
        return own.repeat(3, 1, 1)

    monkeypatch.setattr(ProcessGroup, "gather", record)
    for group in groups:
        list(BatchSharing(group=group, workers=2).map(nn.Identity(), compute, sizes))
    rounds = iter(range(2))
    monkeypatch.setattr(
        ProcessGroup,
        "gather",
        lambda self, own: (
            torch.cat([each[round_] for each in sent.values()]) if (round_ := next(rounds)) >= 0 else own
        ),
    )
    rows = list(BatchSharing(group=groups[2], workers=2).map(nn.Identity(), compute, sizes))
    assert [each.tolist() for each in rows] == [[[float(i)] * 2] * size for i, size in enumerate(sizes)]
