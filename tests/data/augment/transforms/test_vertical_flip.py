"""Vertical flips."""

import numpy as np

from helpers.augmentation import Factory, noise


def test_flips_mirror_about_half_of_the_images(make: Factory) -> None:
    images = noise(400)
    output = make({"name": "VerticalFlip"})(images)
    flipped = [np.array_equal(after, before[::-1]) for before, after in zip(images, output, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(images, output, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    # Five standard deviations of a fair coin thrown 400 times.
    assert abs(sum(flipped) - 200) < 50
