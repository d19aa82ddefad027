"""Noise from seeds."""

import numpy as np
import torch
from scipy import stats

from convsmith.data.augment.noise import noise_levels


def test_levels_are_uniform_and_independent() -> None:
    levels = noise_levels(torch.arange(2000), 301).numpy()
    assert levels.shape == (2000, 301)
    assert stats.chisquare(np.bincount(levels.ravel(), minlength=256)).pvalue > 1e-3
    # Neither neighbours in an image, nor the same place of images with neighbouring seeds, nor bits.
    for first, second in ((levels[:, :-1], levels[:, 1:]), (levels[:-1], levels[1:])):
        table = np.histogram2d(first.ravel() // 16, second.ravel() // 16, bins=16)[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-3
    assert abs(np.unpackbits(levels).mean() - 0.5) < 1e-3


def test_each_image_has_its_own_seed() -> None:
    seeds = torch.tensor([5, 2**32 - 1, 5])
    first, second, third = noise_levels(seeds, 1000)
    assert torch.equal(first, third)
    assert (first == second).float().mean() < 0.02
    assert torch.equal(noise_levels(seeds[1:2], 1000)[0], second)
