"""Changes of levels, against Pillow and albumentations, image by image."""

from typing import Any

import cv2
import numpy as np
import pytest
from albumentations.augmentations.pixel import functional as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from convsmith.data.augment import levels
from helpers.augmentation import Images, changed, tensor_of, varied

FACTORS = np.array([0.0, 0.01, 0.1, 0.3, 0.77, 1.0, 1.1, 1.37, 1.9, 1.99], np.float32)
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 20, 33), (1, 9, 4)]


def picture(image: Images) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def levels_apart(ours: Images, theirs: Any) -> int:
    return int(np.abs(ours.astype(int) - np.asarray(theirs).reshape(ours.shape)).max())


def batch(shape: tuple[int, int, int], values: np.ndarray) -> tuple[Images, np.ndarray]:
    channels, height, width = shape
    images = varied(5 * len(values), height, width, channels)
    return images, np.repeat(values, 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_equals_pillow_and_albumentations(shape: tuple[int, int, int]) -> None:
    images, factors = batch(shape, FACTORS)
    for image, factor, ours in zip(
        images, factors, changed("brighten", levels, images, factors), strict=True
    ):
        assert levels_apart(ours, ImageEnhance.Brightness(picture(image)).enhance(float(factor))) == 0
        assert levels_apart(ours, oracle.adjust_brightness_torchvision(image, factor)) == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_contrast_equals_albumentations_and_pillow_to_a_level(shape: tuple[int, int, int]) -> None:
    images, factors = batch(shape, FACTORS[1:])
    output = changed("change_contrast", levels, images, factors)
    for image, factor, ours in zip(images, factors, output, strict=True):
        # Pillow rounds the mean grey.
        assert levels_apart(ours, ImageEnhance.Contrast(picture(image)).enhance(float(factor))) <= 1
        assert levels_apart(ours, oracle.adjust_contrast_torchvision(image, float(factor))) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_posterize_equals_both(shape: tuple[int, int, int]) -> None:
    images, bits = batch(shape, np.arange(1, 9, dtype=np.float32))
    for image, kept, ours in zip(images, bits, changed("posterize", levels, images, bits), strict=True):
        assert levels_apart(ours, ImageOps.posterize(picture(image), int(kept))) == 0
        assert kept == 8 or levels_apart(ours, oracle.posterize(image, int(kept))) == 0
    assert not changed("posterize", levels, images[:5], np.zeros(5, np.float32)).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_solarize_equals_both(shape: tuple[int, int, int]) -> None:
    images, thresholds = batch(shape, np.array([0, 1, 100, 128, 255, 256], np.float32))
    for image, least, ours in zip(
        images, thresholds, changed("solarize", levels, images, thresholds), strict=True
    ):
        assert levels_apart(ours, ImageOps.solarize(picture(image), int(least))) == 0
        assert least > 255 or levels_apart(ours, oracle.solarize(image, least / 255)) == 0


def test_solarize_between_two_levels_inverts_the_upper_one() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    output = changed("solarize", levels, ramp, np.array([99.5], np.float32)).ravel()
    assert output[:100].tolist() == [*range(100)]
    assert output[100:].tolist() == [*range(155, -1, -1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_autocontrast_equals_pillow_and_albumentations_to_a_level(shape: tuple[int, int, int]) -> None:
    images, _ = batch(shape, FACTORS)
    # Albumentations leaves level 255 out of its histogram, and rounds where Pillow truncates.
    images[images == 255] = 254
    for image, ours in zip(images, changed("autocontrast", levels, images), strict=True):
        theirs = np.asarray(ImageOps.autocontrast(picture(image))).reshape(ours.shape)
        assert set(np.unique(ours - theirs)) <= {0, 1}
        assert levels_apart(ours, oracle.auto_contrast(image, 0, None, "pil")) <= 1


@pytest.mark.parametrize("shape", [*SHAPES, (3, 64, 80)])
def test_equalize_equals_pillow(shape: tuple[int, int, int]) -> None:
    images, _ = batch(shape, FACTORS)
    output = changed("equalize", levels, images)
    for image, ours in zip(images, output, strict=True):
        assert levels_apart(ours, ImageOps.equalize(picture(image))) == 0
    # Small images have steps below one, and stay as they are.
    assert (output != images).any() == (shape[1] * shape[2] > 255)


def test_equalize_spreads_levels_like_albumentations() -> None:
    """Albumentations counts each level with those before it, so its levels are higher by up to one step."""
    image = varied(10, 64, 64, 1)[6]
    (ours,) = changed("equalize", levels, image[None])
    theirs = oracle.equalize(image, mode="cv")
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.995
    assert levels_apart(ours, theirs) <= 255 * np.bincount(image.ravel()).max() / image.size + 1


def test_autocontrast_is_exact_where_pillow_falls_short() -> None:
    pairs = [(low, high) for low in range(0, 256, 5) for high in range(low, 256, 5)]
    images = np.array([[[[low], [high], [(low + high) // 2]]] for low, high in pairs], np.uint8)
    for image, ours in zip(images, changed("autocontrast", levels, images), strict=True):
        low, high, middle = image.ravel().tolist()
        expected = [0, 255, 255 * (middle - low) // (high - low)] if high > low else [low, high, middle]
        assert ours.ravel().tolist() == expected
        assert levels_apart(ours, ImageOps.autocontrast(picture(image))) <= 1


@given(red=st.integers(0, 255), green=st.integers(0, 255), blue=st.integers(0, 255))
@settings(max_examples=200)
def test_grey_equals_opencv_and_pillow_to_a_level(red: int, green: int, blue: int) -> None:
    pixel = np.array([[[[red, green, blue]]]], np.uint8)
    grey = levels.grey_levels(tensor_of(pixel)).item()
    assert grey == cv2.cvtColor(pixel[0], cv2.COLOR_RGB2GRAY)[0, 0]
    assert abs(grey - int(np.asarray(Image.fromarray(pixel[0]).convert("L"))[0, 0])) <= 1


def test_values_that_change_nothing() -> None:
    for channels in (1, 3):
        images = varied(10, channels=channels)
        for name, value in (("brighten", 1), ("change_contrast", 1), ("posterize", 8), ("solarize", 256)):
            assert np.array_equal(changed(name, levels, images, np.full(10, value, np.float32)), images)
