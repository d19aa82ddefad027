"""Folds of a training set: what is held out, in which order, and where each image is in its source."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from convsmith.data.arrays.in_memory import source_of
from convsmith.data.cache.cache import image_locations
from convsmith.data.cache.index import SOURCES, entry_path
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, image_ids, load, load_folds, load_training_data
from convsmith.data.fold import Fold
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.data.sources import find_source
from convsmith.errors import DataError, RecipeError
from convsmith.recipes.loader import load as load_recipe
from convsmith.system.folders import cache_folder
from helpers.sources import classes, config, tree

DIGITS = DataConfig(source="digits", test_fraction=1 / 3, validation=0.1)


def folded(base: DataConfig, count: int) -> list[ImageDataset]:
    return [load(base.model_copy(update={"fold": f"{each}/{count}"})) for each in range(1, count + 1)]


def ids(*splits: object) -> list[bytes]:
    every: list[bytes] = []
    for split in splits:
        every += image_ids(split.images).tolist()  # type: ignore[attr-defined]
    return every


def test_folds_divide_the_training_set_and_nothing_of_a_fold_is_trained_on() -> None:
    ordinary, divided = load(DIGITS), load_folds(DIGITS, 4)
    assert ordinary.validation is not None
    # The training set with its validation images, without the test set.
    assert sorted(ids(divided.images)) == sorted(ids(ordinary.train, ordinary.validation))
    held = []
    for number, data in enumerate(folded(DIGITS, 4)):
        assert data.validation is not None
        assert np.array_equal(data.test.labels, divided.images.labels[divided.folds == number])
        assert ids(data.test) == ids(divided.images.select(divided.folds == number))
        seen = {*ids(data.train), *ids(data.validation)}
        assert seen.isdisjoint(ids(data.test))
        assert seen.isdisjoint(ids(ordinary.test))
        assert seen | {*ids(data.test)} == {*ids(divided.images)}
        # The share of the validation images is that of the other folds.
        assert len(data.validation) == round(0.1 * (len(data.train) + len(data.validation)) + 0.49)
        assert (data.leaked, data.leaked_validation) == (0, 0)
        assert data.fold == Fold(number=number + 1, count=4)
        held += ids(data.test)
    assert sorted(held) == sorted(ids(divided.images))


def test_a_fold_is_a_training_set_without_test_images_too() -> None:
    data = load_training_data(DIGITS.model_copy(update={"fold": "2/4"}))
    other = folded(DIGITS, 4)[1]
    assert ids(data.train) == ids(other.train)
    assert sorted(data.splits) == ["train", "validation"]


def test_folds_do_not_depend_on_the_order_of_the_images() -> None:
    digits = load_digits()
    pixels, labels = np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target
    order = np.random.default_rng(3).permutation(len(labels))
    found = []
    for x, y in ((pixels, labels), (pixels[order], labels[order])):
        with source_of((x, y), DIGITS) as base:
            data = load_folds(base, 3)
            places = np.array([int(each.rpartition(" ")[2]) for each in data.locations])
            assert np.array_equal(np.asarray(data.images.images)[..., 0], x[places])
            assert np.array_equal(data.images.labels, y[places])
            found.append((ids(data.images), data.folds.tolist()))
    assert found[0] == found[1]


def test_groups_and_equal_images_stay_in_one_fold(tmp_path: Path) -> None:
    # Files of one group begin alike; the greys repeat, so that images of several groups are equal.
    for label, name in enumerate(("cat", "dog")):
        parts = {
            f"{name}/g{group}-{index}.png": 20 * group + index + 100 * label
            for group in range(6)
            for index in range(3)
        }
        write_greys(tmp_path, parts)
    write_greys(tmp_path, {"cat/g1-9.png": 40, "dog/g5-9.png": 100})
    base = DataConfig(source=str(tmp_path), group="(cat|dog)/(g[0-9]+)", test_fraction=0.2)
    data = load_folds(base, 3)
    assert data.images.groups is not None
    for key in (data.images.groups.tolist(), ids(data.images)):
        pairs = {*zip(key, data.folds.tolist(), strict=True)}
        assert len(pairs) == len(set(key))
    assert data.grouping.groups is not None
    names = [location.partition("-")[0] for location in data.locations]
    assert len({*zip(names, data.folds.tolist(), strict=True)}) == len(set(names))


def write_greys(root: Path, greys: dict[str, int]) -> None:
    from PIL import Image

    for name, grey in greys.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(root / name)


def with_validation(root: Path) -> DataConfig:
    """12 training, 8 validation and 6 test images of two classes, each of another grey."""
    return config(
        tree(root, *classes("train", images=6), *classes("val", images=4), *classes("test", images=3))
    )


def test_a_validation_split_is_divided_too_and_cut_out_with_its_share(tmp_path: Path) -> None:
    base = with_validation(tmp_path).model_copy(update={"validation": "split"})
    ordinary, data = load(base), load_folds(base, 2)
    assert ordinary.validation is not None
    assert ids(data.images) == ids(ordinary.train, ordinary.validation)
    assert {location.partition("/")[0] for location in data.locations[:12]} == {"train"}
    assert {location.partition("/")[0] for location in data.locations[12:]} == {"val"}
    for each in folded(base, 2):
        assert each.validation is not None
        # Two fifths of the ten images of the other fold.
        assert [len(split) for split in each.splits.values()] == [6, 4, 10]
        assert each.validation_is_split_off
        assert {*ids(each.train)}.isdisjoint(ids(ordinary.test))


def test_folds_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    base = with_validation(tmp_path).model_copy(update={"validation": "split"})
    disk = base.model_copy(update={"keep_in": "disk"})
    for one, other in zip(folded(base, 2), folded(disk, 2), strict=True):
        assert isinstance(other.train.images, DiskImages)
        assert one.split_fingerprints() == other.split_fingerprints()
    images = load_folds(disk, 2).images.images
    assert isinstance(images, DiskImages)
    assert np.array_equal(np.asarray(images), np.asarray(load_folds(base, 2).images.images))


def test_locations_of_an_older_cache_are_found_again(tmp_path: Path) -> None:
    base = with_validation(tmp_path)
    source = find_source(base)
    expected = load_folds(base, 2).locations
    for path in entry_path("", SOURCES).parent.glob("*.npz"):
        path.unlink()
    assert load_folds(base, 2).locations == expected
    assert {name: len(each) for name, each in image_locations(source, base).items()} == {
        "train": 12,
        "test": 6,
    }


def test_damaged_images_have_no_location(tmp_path: Path) -> None:
    base = with_validation(tmp_path)
    (tmp_path / "train" / "cat" / "broken.png").write_bytes(b"no image")
    data = load_folds(base.model_copy(update={"skip_damaged": True}), 2)
    assert len(data) == len(data.locations) == 12
    greys = {
        location: int(image[0, 0, 0])
        for location, image in zip(data.locations, np.asarray(data.images.images), strict=True)
    }
    from PIL import Image

    assert all(
        np.asarray(Image.open(tmp_path / name).convert("L"))[0, 0] == grey for name, grey in greys.items()
    )


def test_a_class_with_too_few_images_is_an_error_that_names_it(tmp_path: Path) -> None:
    base = config(tree(tmp_path, *classes("train", images=3), *classes("test", images=3)))
    with pytest.raises(DataError) as caught:
        load_folds(base, 4)
    (problem,) = caught.value.problems
    assert (
        problem.what
        == "found 3 images of 'cat', expected at least one for each of 4 folds; 1 more class has too few"
    )
    assert problem.fix == "use fewer folds, or give every class more images of different pixels and groups"


def test_folds_that_leave_no_validation_images_are_an_error_before_any_training(tmp_path: Path) -> None:
    base = config(tree(tmp_path, *classes("train", images=2), *classes("test", images=3)))
    with pytest.raises(DataError, match="one image only of 'cat', 'dog'"):
        load_folds(base.model_copy(update={"validation": 0.5}), 2)


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/1", "a/b", "1/1001", "-1/5", "1/5/5"])
def test_a_fold_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(RecipeError, match=r"(?s)data\.fold: .*2 to 1,000"):
        load_recipe("digits", [f"data.fold={text}"])


def test_a_number_alone_is_no_fold() -> None:
    with pytest.raises(RecipeError, match=r'(?s)found 2, expected a text.*"2/5" divides the training set'):
        load_recipe("digits", ["data.fold=2"])


def test_a_schedule_that_monitors_the_test_set_is_an_error_for_a_fold() -> None:
    with pytest.raises(RecipeError, match="a held-out fold has no part in the training"):
        load_recipe("digits", ["data.fold=1/5", "train.schedule={name='plateau', monitor='test'}"])


def test_a_fold_has_the_decoded_images_of_its_data_set() -> None:
    load(DIGITS)
    before = {path.name for path in (cache_folder() / "sources").iterdir()}
    load(DIGITS.model_copy(update={"fold": "3/7"}))
    assert {path.name for path in (cache_folder() / "sources").iterdir()} == before
