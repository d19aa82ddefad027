"""Predictions and small nets for the tests of the evaluation."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import convsmith as cs
from convsmith.data.dataset import load as load_data
from convsmith.evaluation.predictions import Predictions
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load

NAMES = tuple(f"class {number}" for number in range(7))
# Random predictions, and those of nets of the zoo for their real test images.
SOURCES = (
    "random 0",
    "random 1",
    "random 2",
    "digits",
    pytest.param("cifar10-sprint", marks=[pytest.mark.slow, pytest.mark.real_data]),
)


def random_predictions(
    seed: int = 0, count: int = 500, classes: int = 7, sharpness: float = 1.5
) -> Predictions:
    """Random predictions, mostly correct, and overconfident."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.standard_normal((count, classes))
    logits[np.arange(count), labels] += 1.5
    return Predictions(logits=(sharpness * logits).astype(np.float32), labels=labels)


@cache
def predictions_of(source: str) -> Predictions:
    if source.startswith("random"):
        return random_predictions(int(source.removeprefix("random ")))
    test = load_data(load(source).data).test
    return Predictions(logits=cs.load(source).logits(test.images), labels=test.labels)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(float))
    result: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return result


def small_net(text: str, **settings: object) -> tuple[Plan, torch.nn.Sequential]:
    net_plan = plan(parse(text), (3, 16, 16), NetSettings.model_validate(settings))
    net = build(net_plan, generator=torch.Generator().manual_seed(1))
    return net_plan, net.eval()
