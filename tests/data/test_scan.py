"""Scanning: sizes, colours and unusable images."""

import numpy as np
from PIL import Image

from convsmith.data.dataset import load
from helpers.sources import Folder, config, problems


def test_mixed_sizes_require_resize(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("L", (9, 12)).save(root / "train" / "one" / "odd.png")
    message = problems(root)
    assert "images of 2 sizes" in message
    assert "8x8: 18 images, the first is train/one/0.png" in message
    assert "9x12: 1 images, the first is train/one/odd.png" in message
    assert "data.resize=" in message
    assert load(config(root, resize=16)).image_shape == (1, 16, 16)


def test_any_colour_makes_the_set_colour(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(root / "train" / "one" / "red.png")
    data = load(config(root))
    assert data.image_shape == (3, 8, 8)
    reds = [image for image in data.train.images if np.array_equal(image[0, 0], [255, 0, 0])]
    assert len(reds) == 1
