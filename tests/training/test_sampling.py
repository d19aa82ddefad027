"""Balanced sampling, against the frequencies that it promises and PyTorch's sampler."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.utils.data import WeightedRandomSampler

from convsmith.system.rng import new_generator
from convsmith.training.sampling import Sampler

# Class 2 has no images.
COUNTS = (900, 90, 0, 10)


def imbalanced_labels() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS)).astype(np.int64)


def draws(sampler: Sampler, epochs: int) -> np.ndarray:
    return np.concatenate([sampler.order(new_generator(7, epoch)).numpy() for epoch in range(epochs)])


def test_each_class_and_each_of_its_images_is_equally_frequent() -> None:
    labels = imbalanced_labels()
    drawn = draws(Sampler(labels, "balanced"), 60)
    assert len(drawn) == 60 * 1000
    per_class = np.bincount(labels[drawn], minlength=4)
    assert per_class[2] == 0
    assert chisquare(per_class[[0, 1, 3]]).pvalue > 0.001
    per_image = np.bincount(drawn, minlength=1000)
    for label in (0, 1, 3):
        assert chisquare(per_image[labels == label]).pvalue > 0.001
    # The check fails for images that are drawn without regard to their class.
    assert chisquare(np.bincount(labels)[[0, 1, 3]]).pvalue < 1e-6


def test_the_distribution_is_that_of_the_weighted_sampler_of_pytorch() -> None:
    labels = imbalanced_labels()
    weights = (1 / np.bincount(labels)[labels]).tolist()
    theirs = list(WeightedRandomSampler(weights, 60_000, generator=torch.Generator().manual_seed(1)))
    ours = draws(Sampler(labels, "balanced"), 60)
    counts = np.stack([np.bincount(labels[each], minlength=4)[[0, 1, 3]] for each in (ours, theirs)])
    expected = counts.sum(0, keepdims=True) / 2
    assert chisquare(counts.ravel(), np.broadcast_to(expected, counts.shape).ravel(), ddof=3).pvalue > 0.001


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 1000))
def test_an_epoch_has_as_many_images_as_the_training_set(labels: list[int], seed: int) -> None:
    for sampling in ("shuffle", "balanced"):
        sampler = Sampler(np.array(labels), sampling)
        order = sampler.order(new_generator(seed))
        assert order.shape == (len(labels),)
        assert order.min() >= 0
        assert order.max() < len(labels)
        assert torch.equal(order, sampler.order(new_generator(seed)))
        assert sampling == "balanced" or sorted(order.tolist()) == list(range(len(labels)))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 2000])
def test_the_batches_are_the_order(batch_size: int) -> None:
    sampler = Sampler(imbalanced_labels(), "balanced")
    batches = list(sampler.batches(batch_size, new_generator(3)))
    assert torch.equal(torch.cat(batches), sampler.order(new_generator(3)))
