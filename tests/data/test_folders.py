"""Image folders: layout, splits and classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.dataset import load
from helpers.sources import Folder, config, problems


@pytest.mark.parametrize("colour", [False, True])
def test_image_folder_with_splits(image_folder: Folder, colour: bool) -> None:
    root = image_folder({"train": 6, "test": 3}, colour=colour)
    data = load(config(root))
    assert data.class_names == ("one", "two", "zero")
    assert (len(data.train), len(data.test)) == (18, 9)
    assert data.image_shape == (3 if colour else 1, 8, 8)
    assert data.identity == "pictures"
    assert not data.test_is_split_off
    written = np.asarray(Image.open(root / "train" / "zero" / "0.png").convert("L"))
    index = data.class_names.index("zero")
    images = data.train.images[data.train.labels == index][..., 0]
    assert any(np.array_equal(image, written) for image in images)


def test_a_class_folder_may_be_named_like_a_split_if_the_recipe_says_so(image_folder: Folder) -> None:
    root = image_folder({"": 6}, classes=("car", "train"))
    assert 'data.splits.train="."' in problems(root)
    data = load(config(root, splits={"train": "."}))
    assert data.class_names == ("car", "train")
    assert len(data.train) + len(data.test) == 12
    inside = image_folder({"train": 6, "test": 2}, classes=("car", "train"), name="inside")
    assert load(config(inside)).class_names == ("car", "train")


def test_folders_without_images(tmp_path: Path, image_folder: Folder) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images (0 other files)" in problems(tmp_path / "empty")
    root = image_folder({"train": 4, "test": 2})
    (root / "train" / "three").mkdir()
    assert f"{root / 'train' / 'three'}: no training images of 'three'" in problems(root)
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("L", (8, 8)).save(flat / "a.png")
    assert "found no class folders" in problems(flat)
    assert "expected one named train" in problems(image_folder({"test": 4, "val": 2}, name="no-train"))
