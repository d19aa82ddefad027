"""Holes with noise, on a CPU and on other devices."""

import pytest
import torch

from convsmith.data.augment import holes as module
from convsmith.data.augment.transforms.random_erasing import RandomErasing
from helpers.augmentation import tensor_of, varied


@pytest.mark.parametrize("shape", [(32, 32, 3), (20, 33, 3), (28, 28, 1)])
def test_all_devices_have_the_same_noise(shape: tuple[int, int, int]) -> None:
    images = tensor_of(varied(40, *shape))
    config = RandomErasing(name="RandomErasing", scale=(0.01, 0.5), ratio=(0.5, 2.0))
    *place, seed = config.draw(40, shape[:2], torch.Generator().manual_seed(0))
    holes, seeds = module.Holes(*place), seed.flatten()
    ours, others = (by(images, holes, seeds) for by in (module._noise_by_rectangles, module._noise_by_pixels))
    assert torch.equal(ours, others)
    assert (ours != images).any(1).flatten(1).any(1).all()
