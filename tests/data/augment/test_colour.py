"""Saturation and hue, against Pillow and albumentations, and between devices."""

import numpy as np
import pytest
import torch
from albumentations.augmentations.pixel import functional as oracle
from PIL import Image, ImageEnhance

from convsmith.data.augment import colour, each_image
from helpers.augmentation import Images, changed, tensor_of, varied

# No turn is a whole number of steps as float32 and less as float64.
TURNS = np.array([-0.5, -0.21, -0.051, -0.001, 0.0, 0.003, 0.052, 0.11, 0.37, 0.5], np.float32)


def every_colour() -> Images:
    """Each colour of 18 levels per channel."""
    axis = np.arange(0, 256, 15)
    return np.stack(np.meshgrid(axis, axis, axis), -1).astype(np.uint8).reshape(1, 54, 108, 3)


def test_saturation_equals_albumentations_and_pillow_nearly() -> None:
    images = np.concatenate([varied(10, 54, 108), every_colour()])
    for factor in (0.0, 0.01, 0.4, 0.8, 1.0, 1.2, 1.99):
        output = changed("saturate", colour, images, np.full(11, factor, np.float32))
        for image, ours in zip(images, output, strict=True):
            # Pillow truncates, and some of its greys are another level.
            theirs = ImageEnhance.Color(Image.fromarray(image)).enhance(factor)
            apart = np.abs(ours.astype(int) - np.asarray(theirs))
            assert apart.max() <= 2
            assert np.mean(apart > 1) < 0.005
            other = oracle.adjust_saturation_torchvision(image, factor)
            # The sums are ordered otherwise, which decides on halves.
            assert np.abs(ours.astype(int) - other).max() <= 1
            assert np.mean(ours != other) < 0.005


@pytest.mark.parametrize("turn", TURNS)
def test_hue_equals_albumentations(turn: float) -> None:
    images = every_colour()
    theirs = oracle.adjust_hue_torchvision(images[0], float(turn))
    single = images[0].copy()
    each_image.turn_hue(single, float(turn))
    assert np.array_equal(single, theirs)
    # OpenCV truncates some of the levels that PyTorch rounds.
    ours = colour.turn_hue(tensor_of(images), torch.tensor([turn])).permute(0, 2, 3, 1).numpy()[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_hue_of_each_image_is_its_own_and_depends_on_no_other() -> None:
    images, turns = varied(len(TURNS)), torch.from_numpy(TURNS)
    together = colour.turn_hue(tensor_of(images), turns)
    for index in range(len(images)):
        alone = colour.turn_hue(tensor_of(images[index : index + 1]), turns[index : index + 1])
        assert torch.equal(together[index : index + 1], alone)
    assert torch.equal(together[4], tensor_of(images)[4])


def test_a_whole_turn_in_thirds_permutes_the_channels() -> None:
    images = tensor_of(every_colour())
    turned = colour.turn_hue(images, torch.tensor([1 / 3]))
    # A third of the circle: red becomes green, green blue, blue red.
    apart = (turned.int() - images.int()[:, [2, 0, 1]]).abs()
    # Hues are stored in steps of two degrees.
    assert apart.max() <= 9
    assert apart.float().mean() < 2


def test_grey_images_have_no_colour() -> None:
    images = tensor_of(varied(5, channels=1))
    assert colour.saturate(images, torch.zeros(5)) is images
    assert colour.turn_hue(images, torch.ones(5)) is images
    for change in (each_image.saturate, each_image.turn_hue):
        assert torch.equal(each_image.each_image(images, change, [0.5] * 5), images)
