"""Learning-rate schedules, against their formulas."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from convsmith.training.learning_rate import LearningRate
from convsmith.training.metrics import (
    EpochMetrics,
    SplitMetrics,
)
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.sgd import SGD
from convsmith.training.schedules import Schedule
from convsmith.training.schedules.annealing import Cosine, Linear
from convsmith.training.schedules.constant import Constant
from convsmith.training.schedules.one_cycle import OneCycle
from convsmith.training.schedules.plateau import Plateau
from convsmith.training.schedules.step import Step


def epoch_metrics(accuracy: float) -> EpochMetrics:
    """Metrics of an epoch with this accuracy, to two digits."""
    train = SplitMetrics(loss=0.0, correct=round(100 * accuracy), total=100)
    return EpochMetrics(
        epoch=1, lr=1.0, train=train, validation=None, test=None, train_seconds=0, evaluation_seconds=0
    )


def rates(schedule: Schedule, accuracies: Sequence[float], steps: int = 2) -> list[float]:
    """Return the learning rate at the start of each epoch, and after the last."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rate = LearningRate(schedule, [optimizer], epochs=len(accuracies), steps_per_epoch=steps)
    seen = [rate.lr]
    for accuracy in accuracies:
        for _ in range(steps):
            optimizer.step()
            rate.step()
        rate.step_epoch(epoch_metrics(accuracy))
        seen.append(rate.lr)
    return seen


def test_step_schedule() -> None:
    assert rates(Step(every=2, factor=0.1), [0.0] * 5) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_lowers_the_rate_after_patience_epochs() -> None:
    accuracies = [0.5, 0.6, 0.6, 0.59, 0.58, 0.7, 0.6, 0.6, 0.6, 0.8]
    expected = [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(Plateau(patience=3, factor=0.5), accuracies) == pytest.approx(expected)


def test_plateau_with_default_patience() -> None:
    # The best epoch is the first; the fifth epoch without a better one lowers the rate of the next.
    assert rates(Plateau(), [0.5, *[0.4] * 6])[5:8] == pytest.approx([1, 0.1, 0.1])


def test_constant_schedule() -> None:
    assert rates(Constant(), [0.1, 0.2]) == [1.0, 1.0, 1.0]


def test_one_cycle_against_its_formula() -> None:
    ours = rates(OneCycle(warmup=0.25, start_factor=0.04, end_factor=1e-3), [0.0] * 41, steps=1)[:41]
    rise, fall = 41 * 0.25 - 1, 41 - 41 * 0.25
    expected = [
        1 + (0.04 - 1) * (1 + math.cos(math.pi * step / rise)) / 2
        if step <= rise
        else 4e-5 + (1 - 4e-5) * (1 + math.cos(math.pi * (step - rise) / fall)) / 2
        for step in range(41)
    ]
    assert ours == pytest.approx(expected)
    assert ours[0] == pytest.approx(0.04)
    assert ours[-1] == pytest.approx(4e-5)


def test_cosine_against_its_formula() -> None:
    ours = rates(Cosine(end_factor=0.1), [0.0] * 8, steps=1)
    assert ours == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)])
    warm = rates(Cosine(warmup_epochs=3), [0.0] * 8, steps=1)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warm[-1] == pytest.approx(0.0)


def test_linear_schedule_with_warm_up() -> None:
    ours = rates(Linear(warmup_epochs=3, end_factor=0.2), [0.0] * 8, steps=1)
    assert ours == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.84, 0.68, 0.52, 0.36, 0.2])


def test_schedule_applies_to_every_parameter_group() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = Muon(lr=0.5, rest=SGD(lr=0.1, norm_bias_lr_factor=4.0)).build(net)
    rate = LearningRate(Step(every=1, factor=0.5), optimizers, epochs=2, steps_per_epoch=1)
    for optimizer in optimizers:
        optimizer.step()
    rate.step_epoch(epoch_metrics(0.0))
    found = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    assert found == pytest.approx([0.25, 0.05, 0.2])
