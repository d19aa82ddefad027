"""The weighted loss of a batch and of its parts, against PyTorch's."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.mixes.mixup import Mixup
from convsmith.data.dataset import ImageDataset
from convsmith.data.pipeline import BatchSpec, Pipeline
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.rng import new_generator
from convsmith.training.config import Distillation
from convsmith.training.distillation import Teacher, distillation_loss
from convsmith.training.gradients import GradientWorkers
from convsmith.training.losses import LabelLoss
from convsmith.training.profiler import Profile

CPU = torch.device("cpu")
WEIGHTS = tuple(0.25 * (digit + 1) for digit in range(10))


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return Session.load(load("digits")).data


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    smoothing=st.sampled_from([0.0, 0.1, 0.7]),
    probabilities=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_add_up_to_the_loss_of_pytorch(
    sizes: list[int], smoothing: float, probabilities: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    count, weights = sum(sizes), (0.2, 1.0, 3.5)
    logits = torch.randn(count, 3, generator=generator)
    labels = torch.randint(3, (count,), generator=generator)
    targets = torch.rand(count, 3, generator=generator).softmax(1) if probabilities else labels
    loss = LabelLoss(weights, smoothing, CPU)
    mean = loss.mean_weight(labels)
    parts = zip(torch.split(logits, sizes), torch.split(targets, sizes), sizes, strict=True)
    total = sum(loss(some, some_targets, mean) * size / count for some, some_targets, size in parts)
    criterion = nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing)
    assert isinstance(total, Tensor)
    assert total.item() == pytest.approx(criterion(logits, targets).item(), rel=1e-5)


def small_net() -> nn.Module:
    settings = NetSettings(norm="none")
    return build(plan(parse("C8 S8:s2 / G F10"), (1, 8, 8), settings), generator=new_generator(1))


def normalized(data: ImageDataset, count: int) -> Tensor:
    images = torch.from_numpy(data.train.images[:count]).permute(0, 3, 1, 2) / 255
    return (images - data.mean[0]) / data.std[0]


@pytest.mark.parametrize("parts", [1, 3, 4])
@pytest.mark.parametrize("taught", [False, True])
def test_gradients_do_not_depend_on_the_microbatches(digits: ImageDataset, parts: int, taught: bool) -> None:
    """The oracle: PyTorch's loss and gradient of the whole batch. The teacher's images count equally."""
    net, teacher_net = small_net(), small_net()
    for parameter in teacher_net.parameters():
        parameter.data += 0.3
    expected, count = copy.deepcopy(net), 50
    labels = torch.from_numpy(digits.train.labels[:count])
    logits = expected(normalized(digits, count))
    loss = functional.cross_entropy(logits, labels, torch.tensor(WEIGHTS), label_smoothing=0.1)
    teacher = None
    if taught:
        teacher = Teacher(net=teacher_net.eval(), config=Distillation(alpha=0.4, temperature=2.0))
        soft = distillation_loss(logits, teacher_net(normalized(digits, count)).detach(), 2.0)
        loss = 0.6 * loss + 0.4 * soft
    loss.backward()  # type: ignore[no-untyped-call]
    workers = GradientWorkers(
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        Pipeline(digits, AugmentConfig(), seed=0, device=CPU),
        label_smoothing=0.1,
        dtype=torch.float32,
        num_microbatches=parts,
        profile=Profile(),
        teacher=teacher,
        class_weights=WEIGHTS,
    )
    result = workers.compute(BatchSpec(indices=torch.arange(count), epoch=1, step=0))
    assert result.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_mixed_images_have_the_loss_of_their_probabilities(digits: ImageDataset) -> None:
    net, spec = small_net(), BatchSpec(indices=torch.arange(40), epoch=1, step=0)
    pipeline = Pipeline(digits, AugmentConfig(mix=Mixup(name="mixup")), seed=0, device=CPU)
    batch = pipeline(spec)
    assert batch.targets.is_floating_point()
    weight = torch.tensor(WEIGHTS)
    expected = functional.cross_entropy(net(batch.images), batch.targets, weight, label_smoothing=0.1)
    workers = GradientWorkers(
        net,
        pipeline,
        label_smoothing=0.1,
        dtype=torch.float32,
        num_microbatches=1,
        profile=Profile(),
        class_weights=WEIGHTS,
    )
    assert workers.compute(spec).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_weights_the_loss_has_the_bits_of_pytorch() -> None:
    logits, labels = torch.randn(33, 7), torch.randint(7, (33,))
    loss = LabelLoss(None, 0.1, CPU)
    assert loss.mean_weight(labels) is None
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)
    assert torch.equal(loss(logits, labels, None), expected)
