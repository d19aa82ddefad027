"""Near-duplicates: planted copies are found, unrelated images are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from convsmith.data.checks.near_duplicates import near_pairs
from convsmith.data.checks.verify import verify
from helpers.sources import config

Pixels = np.ndarray


def pictures(count: int, channels: int = 3) -> Pixels:
    """Smooth images with some texture."""
    generator = np.random.default_rng(5)
    images = []
    for _ in range(count):
        noise = Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        smooth = np.asarray(noise.filter(ImageFilter.GaussianBlur(2.5)), dtype=float)
        images.append(np.clip((smooth - 128) * 4 + 128, 0, 255))
    return np.stack(images).astype(np.uint8)[..., :channels]


CHANGES = {
    "flipped": lambda image: image[4:36, 4:36][:, ::-1],
    "upside down": lambda image: image[4:36, 4:36][::-1],
    "turned": lambda image: np.rot90(image[4:36, 4:36]),
    "shifted": lambda image: image[2:34, 6:38],
    "darker": lambda image: (image[4:36, 4:36] * 0.6).astype(np.uint8),
    "duller": lambda image: (image[4:36, 4:36] * 0.5 + 64).astype(np.uint8),
    "flipped, shifted and darker": lambda image: (image[3:35, 5:37][:, ::-1] * 0.7).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_changed_copy_is_found_and_nothing_else(change: str, channels: int) -> None:
    large = pictures(120, channels)
    copies = np.stack([CHANGES[change](image) for image in large[:20]])
    found = near_pairs(np.concatenate([large[:, 4:36, 4:36], copies]))
    assert {(pair.other, pair.image) for pair in found} == {(index, 120 + index) for index in range(20)}


def test_five_copies_of_each_image_are_all_listed(tmp_path: Path) -> None:
    """200 images, five copies each: identical, flipped, shifted and darker ones, in both splits."""
    for number, image in enumerate(pictures(200)):
        plain = image[4:36, 4:36]
        copies = [plain, plain, *(CHANGES[name](image) for name in ("flipped", "shifted", "darker"))]
        for copy, pixels in enumerate(copies):
            split = "train" if copy in {0, 4} else "test"
            path = tmp_path / split / "ab"[number % 2] / f"{number}_{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    counts = verify(config(tmp_path), near_duplicates=True).counts
    assert counts == {"across splits": 200, "near-duplicate across splits": 400, "near-duplicate": 200}
    assert verify(config(tmp_path)).counts == {"across splits": 200}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images(count: int) -> None:
    images = pictures(1)[:, 4:36, 4:36].repeat(count, axis=0)
    assert len(near_pairs(images)) == max(0, count - 1)


@pytest.mark.parametrize("ink", [0, 255])
def test_icons_whose_shape_is_in_the_alpha_channel(ink: int, tmp_path: Path) -> None:
    """Over black all icons in black ink are equal, and over white those in white ink."""
    shapes = pictures(20, 1)[:, 4:36, 4:36, 0]
    for number, shape in enumerate([*shapes, *(shape[:, ::-1] for shape in shapes[:5])]):
        icon = np.dstack([np.full((*shape.shape, 3), ink, np.uint8), shape])
        path = tmp_path / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(icon).save(path)
    assert verify(config(tmp_path), near_duplicates=True).counts == {"near-duplicate": 5}
