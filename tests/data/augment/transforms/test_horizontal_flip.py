"""Horizontal flips, at random and in alternate epochs."""

import numpy as np
import torch

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.engines import Draw, augmenter
from helpers.augmentation import MEAN, Factory, noise, tensor_of


def test_flips_mirror_about_half_of_the_images(make: Factory) -> None:
    images = noise(400)
    output = make({"name": "HorizontalFlip"})(images)
    flipped = [np.array_equal(after, before[:, ::-1]) for before, after in zip(images, output, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(images, output, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    # Five standard deviations of a fair coin thrown 400 times.
    assert abs(sum(flipped) - 200) < 50


def test_alternate_flips_mirror_every_image_in_every_other_epoch() -> None:
    config = AugmentConfig.model_validate({"transforms": [{"name": "HorizontalFlip", "alternate": True}]})
    images, places = tensor_of(noise(6)), torch.tensor([4, 9, 2, 3, 7, 8])
    augment = augmenter(config, MEAN)
    epochs = [augment(images, Draw(seed=epoch, epoch=epoch, indices=places)) for epoch in (1, 2, 3)]
    for index in range(6):
        first, second, third = (epoch[index] for epoch in epochs)
        assert torch.equal(first, third)
        assert torch.equal(first, second.flip(2))
    assert sum(torch.equal(image, output) for image, output in zip(images, epochs[0], strict=True)) == 3
