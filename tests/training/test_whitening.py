"""Whitening by the first convolution."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from convsmith.errors import RecipeError
from convsmith.recipes.loader import load
from convsmith.system.rng import new_generator
from convsmith.training.whitening import whiten_first_layer, whitening_filters
from helpers.trained import trained


def test_whitened_patches_are_uncorrelated() -> None:
    images = functional.avg_pool2d(torch.randn(300, 3, 16, 16, generator=new_generator(0)), 3, 1)
    filters = whitening_filters(images, (3, 3))
    assert filters.shape == (27, 3, 3, 3)
    out = functional.conv2d(images, filters).transpose(0, 1).flatten(1)
    covariance = torch.cov(out)
    # Epsilon keeps the weakest directions below 1.
    assert torch.allclose(covariance[:10, :10], torch.eye(10), atol=0.05)
    assert (covariance - covariance.diag().diag()).abs().max() < 0.01


def test_whitening_rejects_odd_and_excessive_filters() -> None:
    images = torch.randn(20, 3, 8, 8)
    for channels in (55, 56):
        with pytest.raises(RecipeError, match="expected an even number of at most 54"):
            whiten_first_layer(nn.Conv2d(3, channels, 3), images)


def test_whitening_filters_are_frozen() -> None:
    _, recorder = trained(
        load("digits", ["train.epochs=2", "model.net=C8:k2:s2 C8 / G F10", "train.whitening=true"])
    )
    first, last = (weights["block1.conv1.weight"] for weights in recorder.weights)
    assert torch.equal(first, last)
    assert torch.equal(first[:4], -first[4:])
    assert not torch.equal(*(weights["block1.conv2.weight"] for weights in recorder.weights))
