"""Scanning: sizes, colours and unusable images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from helpers.sources import Folder, config, problems


def test_mixed_sizes_require_resize(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("L", (9, 12)).save(root / "train" / "one" / "odd.png")
    message = problems(root)
    assert "images of 2 sizes" in message
    assert "8x8 (height x width): 18 images, the first is train/one/0.png" in message
    assert "12x9 (height x width): 1 image, the first is train/one/odd.png" in message
    assert "data.resize=8" in message
    assert load(config(root, resize=16)).image_shape == (1, 16, 16)


def test_any_colour_makes_the_set_colour(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(root / "train" / "one" / "red.png")
    data = load(config(root))
    assert data.image_shape == (3, 8, 8)
    reds = [image for image in data.train.images if np.array_equal(image[0, 0], [255, 0, 0])]
    assert len(reds) == 1


@pytest.mark.parametrize(("brightest", "levels"), [(4095, 16), (32_767, 128), (32_768, None), (65_535, None)])
def test_sixteen_bits_that_use_only_the_lower_ones_are_named(
    tmp_path: Path, brightest: int, levels: int | None
) -> None:
    """A camera with 12 bits in files of 16: nearly black."""
    generator = np.random.default_rng(0)
    for number in range(20):
        pixels = generator.integers(0, brightest, (8, 8), dtype=np.uint16)
        pixels[0, 0] = brightest
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    Image.new("L", (8, 8), 255).save(tmp_path / "a" / "eight.png")
    expected = f"20 images of 16 bits: the high byte has only {levels} of 256 brightness levels; "
    notes = [load(config(tmp_path)).layout.notes, verify(config(tmp_path)).notes]
    for each in notes:
        assert [note.startswith(expected) for note in each] == ([] if levels is None else [True])
