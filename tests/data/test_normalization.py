"""Normalization of training images."""

import pytest
import torch

from convsmith.data.normalize import Normalizer
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from helpers.trained import normalize_all


def test_normalized_images_have_mean_0_and_standard_deviation_1(tiny: Recipe) -> None:
    data = Session.load(tiny).data
    images = normalize_all(data.train, Normalizer.of(data, torch.device("cpu")))
    assert images.shape == (len(data.train), 1, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    pixel = (data.train.images[3][2, 1, 0] / 255 - data.mean[0]) / data.std[0]
    assert images[3, 0, 2, 1].item() == pytest.approx(pixel, abs=1e-6)
