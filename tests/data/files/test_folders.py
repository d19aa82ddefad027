"""Image folders: layout, splits and classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.data.images.decode import FORMATS
from helpers.sources import Folder, classes, config, problems, tree


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


def test_composed_and_decomposed_letters_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "\u00e9t\u00e9", "e\u0301te\u0301"
    root = tree(
        tmp_path,
        *classes("train", (composed, "cat")),
        *classes("train", (decomposed,), images=3),
        *classes("test", (decomposed, "cat")),
    )
    data = load(config(root))
    assert data.class_names == ("cat", composed)
    assert np.bincount(data.train.labels).tolist() == [2, 5]
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert any("NFC and NFD" in note and composed in note for note in data.layout.notes)


def test_class_names_that_differ_in_case_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "one", *classes("", ("Cat", "cat", "polar bear", "polar_bear", "dog"), images=5))
    notes = " ".join(load(config(root)).layout.notes)
    assert "'Cat', 'cat'" in notes
    assert "'polar bear', 'polar_bear'" in notes
    assert "dog" not in notes
    split = tree(tmp_path / "two", *classes("train", ("Cat", "dog")), *classes("test", ("cat", "dog")))
    message = problems(split)
    assert "'Cat' in the training set and 'cat' in the test set" in message


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jfif", "JPEG"), (".pbm", "PPM"), (".avif", "AVIF"), (".jpe", "JPEG")]
)
def test_rare_suffixes_are_read_where_pillow_can(suffix: str, kind: str, tmp_path: Path) -> None:
    if kind not in FORMATS:
        pytest.skip("Pillow without AVIF")
    root = tree(tmp_path, *classes("", images=4))
    Image.new("1" if suffix == ".pbm" else "L", (4, 4)).save(root / "cat" / f"more{suffix}", format=kind)
    data = load(config(root))
    assert len(data.train) + len(data.test) == 9
    assert data.layout.left_out == {}


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".tif", "TIFF"), (".gif", "GIF"), (".webp", "WEBP"), (".png", "PNG")]
)
def test_pages_after_the_first_are_counted(suffix: str, kind: str, tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("", images=4))
    pages = [Image.new("L", (4, 4), 40 * number) for number in range(4)]
    pages[0].save(root / "cat" / f"many{suffix}", format=kind, save_all=True, append_images=pages[1:])
    data = load(config(root))
    assert len(data.train) + len(data.test) == 9
    assert data.layout.left_out == {"pages or frames of a file after the first": 3}
    verification = verify(config(root))
    assert verification.notes == ("3 pages or frames after the first of a file are not read",)


def test_classes_of_one_image_are_told_by_name(tmp_path: Path) -> None:
    root = tree(tmp_path, *classes("", ("ant", "bee"), images=5), *classes("", ("cat", "dog"), images=1))
    assert "one image only of 'cat', 'dog'" in problems(root)
    assert "one image only" not in problems(
        tree(tmp_path / "few", *classes("", ("ant", "bee"), images=2)), test_fraction=0.25
    )
