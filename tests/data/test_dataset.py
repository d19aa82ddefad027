"""Data sets: splits, identity, info, mean and standard deviation."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from convsmith.data.cache.cache import fingerprint
from convsmith.data.dataset import CANONICAL, dataset_info, load, mean_and_std
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.recipes.loader import load as load_recipe
from convsmith.runs.schema import DataRecord
from helpers.sources import Folder, config, problems
from helpers.trained import trained


def test_digits_are_built_in() -> None:
    data = load(config("digits", test_fraction=1 / 3))
    assert data.image_shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1198, 599)
    assert data.identity == "scikit-learn digits, verified"
    assert data.class_names == tuple("0123456789")
    assert np.asarray(data.train.images).dtype == np.uint8
    assert np.asarray(data.train.images).max() == 255


def test_images_without_splits_are_split_by_class_and_seed(image_folder: Folder) -> None:
    root = image_folder({"": 12})
    data = load(config(root, test_fraction=0.25))
    assert data.test_is_split_off
    assert np.bincount(data.train.labels).tolist() == [9, 9, 9]
    assert np.bincount(data.test.labels).tolist() == [3, 3, 3]
    record, again, other = (
        DataRecord.of(load(config(root, test_fraction=0.25, split_seed=seed)), config(root, split_seed=seed))
        for seed in (0, 0, 1)
    )
    assert record == again
    assert record.splits["test"].fingerprint != other.splits["test"].fingerprint
    assert record.fingerprint == other.fingerprint
    assert record.test_split == "by convsmith, stratified"
    assert record.splits["train"].per_class == (9, 9, 9)


def test_validation_images_come_from_the_training_split_only(image_folder: Folder) -> None:
    root = image_folder({"train": 10, "test": 4})
    plain, held = load(config(root)), load(config(root, validation=0.2))
    assert held.validation is not None
    assert np.bincount(held.validation.labels).tolist() == [2, 2, 2]
    assert len(held.train) == 24
    assert np.array_equal(plain.test.images, held.test.images)
    together = np.concatenate([held.train.images, held.validation.images])
    labels = [*held.train.labels.tolist(), *held.validation.labels.tolist()]
    assert fingerprint(list(together), labels) == fingerprint(
        list(plain.train.images), plain.train.labels.tolist()
    )


def test_too_few_images_to_split(image_folder: Folder) -> None:
    assert "one image only of 'one', 'two', 'zero'" in problems(image_folder({"": 1}))


@pytest.mark.parametrize("shape", [(3, 5, 7, 1), (1, 1, 1, 1), (2, 4, 4, 3), (5, 3, 3, 3)])
def test_mean_and_std_of_any_number_of_pixels(shape: tuple[int, ...]) -> None:
    """Odd numbers too: levels are counted in pairs."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mean, std = mean_and_std(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)))
    assert [each for each in std if each != 1] == pytest.approx(
        [each for each in (images / 255).std(axis=(0, 1, 2)) if each]
    )


def test_mean_and_std_against_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    mean, std = mean_and_std(images)
    assert mean == pytest.approx((images / 255).mean((0, 1, 2)))
    assert std == pytest.approx((images / 255).std((0, 1, 2)))
    flat_mean, flat_std = mean_and_std(np.full((2, 4, 4, 1), 51, np.uint8))
    assert flat_mean == pytest.approx((0.2,))
    assert flat_std == (1.0,)


def test_canonical_data_sets_have_their_info_without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset_info(config("cifar10")) == CANONICAL["cifar10"].info
    assert dataset_info(config("mnist", resize=32)).image_shape == (1, 32, 32)
    assert dataset_info(config("digits")) == load(config("digits")).info


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "title", "sizes", "mean", "std"),
    [
        ("mnist", "MNIST", (60_000, 10_000), (0.1307,), (0.3081,)),
        ("cifar10", "CIFAR-10", (50_000, 10_000), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ],
)
def test_canonical_data_sets_are_identified(
    real_data: Path,
    name: str,
    title: str,
    sizes: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    data = load(config(name))
    assert data.identity == f"{title}, verified"
    assert (len(data.train), len(data.test)) == sizes
    assert data.info == CANONICAL[name].info
    assert np.bincount(data.test.labels).sum() == 10_000
    # The published figures, to four digits.
    assert [round(value, 4) for value in data.mean] == list(mean)
    assert [round(value, 4) for value in data.std] == list(std)
    assert os.environ["CONVSMITH_DATA"] == str(real_data)


@pytest.mark.parametrize(
    ("name", "title", "identity"),
    [
        ("a\nTest accuracy: 100.00%", "a?Test accuracy: 100.00%", "a?Test accuracy: 100.00%"),
        ("\x1b[31mred\u202e", "?[31mred?", "?[31mred?"),
        ("MNIST, verified", "MNIST, verified", "MNIST, verified (the name of a folder)"),
    ],
)
def test_names_of_folders_forge_nothing(name: str, title: str, identity: str, image_folder: Folder) -> None:
    folder = image_folder({"train": 6, "test": 2}, name=name)
    data = load(config(folder))
    assert (data.title, data.identity) == (title, identity)
    recipe = load_recipe("digits")
    record = DataRecord.of(data, recipe.data)
    assert record.verified_title == identity


def test_training_from_disk_gives_the_same_weights() -> None:
    base = ["train.epochs=1", "model.net=C4 / G F10", "data.validation=0.1"]
    (memory, _), (disk, _) = (
        trained(load_recipe("digits", [*base, f"data.keep_in={place}"])) for place in ("memory", "disk")
    )
    for name, tensor in memory.state_dict().items():
        assert torch.equal(tensor, disk.state_dict()[name])


def test_large_data_sets_stay_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load(config("digits")).train.images, np.ndarray)
    monkeypatch.setattr("convsmith.data.dataset._MEMORY_SHARE", 1e-9)
    assert isinstance(load(config("digits")).train.images, DiskImages)
