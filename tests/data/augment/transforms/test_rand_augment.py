"""RandAugment: the paper's N and M. The operations have tests of their own."""

import numpy as np
import torch

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.strengths import OPERATIONS
from convsmith.data.augment.transforms.rand_augment import RandAugment
from helpers.augmentation import Factory, varied


def test_all_operations_have_one_magnitude_and_their_number() -> None:
    config = RandAugment(name="RandAugment", num_operations=3, magnitude=15)
    operation, value = config.draw(2000, (32, 40), torch.Generator().manual_seed(0))
    assert operation.shape == value.shape == (2000, 3)
    for name, values in (
        ("Rotate", {-15.0, 15.0}),
        ("Posterize", {6.0}),
        ("Solarize", {128.0}),
        ("TranslateX", {-9.0, 9.0}),
        ("TranslateY", {-7.0, 7.0}),
        ("Equalize", {0.0}),
        ("Identity", {0.0}),
    ):
        assert set(value[operation == OPERATIONS.index(name)].tolist()) == values


def test_magnitude_0_changes_contrast_only(make: Factory) -> None:
    """Autocontrast and equalize have no magnitude: they change no image that uses all levels evenly."""
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(60, axis=0).repeat(3, axis=3)
    images = ramp.repeat(4, axis=1)
    assert np.array_equal(make({"name": "RandAugment", "magnitude": 0})(images), images)


def test_more_magnitude_changes_more(make: Factory) -> None:
    images = varied(200, 32, 32)[2::5]
    changes = [
        np.abs(make({"name": "RandAugment", "magnitude": each})(images).astype(int) - images).mean()
        for each in (0, 5, 15, 30)
    ]
    assert changes == sorted(changes)


def test_settings_in_words() -> None:
    (one, two) = AugmentConfig.model_validate(
        {"transforms": [{"name": "RandAugment", "num_operations": 1}, {"name": "RandAugment", "p": 0.5}]}
    ).transforms
    assert one.details == "1 operation of magnitude 9 of 30; p = 1"
    assert two.details == "2 operations of magnitude 9 of 30; p = 0.5"
