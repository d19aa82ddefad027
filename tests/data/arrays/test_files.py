"""Data sets of arrays: names, shapes, values and labels, each compared with how the arrays were made."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from convsmith.data.arrays.lazy import lazy_array
from convsmith.data.arrays.names import array_name
from convsmith.data.arrays.pixels import PixelRule, pixel_rule
from convsmith.data.checks.verify import verify
from convsmith.data.dataset import ImageDataset, Split, load
from convsmith.errors import DataError
from helpers.sources import config, problems

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (30, 6, 5), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
Y = np.arange(30) % 3
TRAIN, TEST, VALIDATION = slice(12), slice(12, 21), slice(21, 30)
# The names of images and labels of a training, a test and a validation set.
KERAS = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val")
WRITTEN = [
    KERAS,
    ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels"),
    ("X_train", "Y_train", "X_test", "Y_test", "X_valid", "Y_valid"),
    ("trainX", "trainY", "testX", "testY", "devX", "devY"),
    ("xtrain", "ytrain", "xtest", "ytest", "xval", "yval"),
    ("train_data", "train_targets", "test_data", "test_targets", "validation_data", "validation_targets"),
    ("images_train", "labels_train", "images_test", "labels_test", "images_val", "labels_val"),
    ("train_set_x", "train_set_y", "test_set_x", "test_set_y", "dev_set_x", "dev_set_y"),
]


def save(path: Path, *names: str, x: np.ndarray = X, y: np.ndarray = Y, **others: Any) -> Path:
    """Write the three parts of images and labels under their names, the training set first."""
    arrays: dict[str, Any] = {}
    for number, part in enumerate((TRAIN, TEST, VALIDATION)):
        if 2 * number < len(names):
            arrays |= {names[2 * number]: x[part], names[2 * number + 1]: y[part]}
    np.savez_compressed(path, **arrays, **others)
    return path


def content(split: Split | None) -> set[tuple[bytes, int]]:
    assert split is not None
    pairs = zip(np.asarray(split.images), split.labels.tolist(), strict=True)
    return {(image.tobytes(), label) for image, label in pairs}


def expected(x: np.ndarray, y: np.ndarray, part: slice) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(x[part], y[part], strict=True)}


def check(data: ImageDataset, x: np.ndarray = X, y: np.ndarray = Y) -> None:
    assert content(data.train) == expected(x, y, TRAIN)
    assert content(data.test) == expected(x, y, TEST)


@pytest.mark.parametrize("names", WRITTEN, ids=lambda names: names[0])
def test_names_of_arrays(names: tuple[str, ...], tmp_path: Path) -> None:
    data = load(config(save(tmp_path / "set.npz", *names), validation="split"))
    check(data)
    assert content(data.validation) == expected(X, Y, VALIDATION)
    assert data.class_names == ("0", "1", "2")
    assert data.layout.description.startswith(f"arrays ({names[0]} and {names[1]}")
    without = load(config(tmp_path / "set.npz"))
    assert without.validation is None
    assert sum(without.layout.left_out.values()) == 2


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "Y"), ("images", "labels"), ("data", "target"), ("a", "b")]
)
def test_one_set_of_images_is_split(names: tuple[str, str], tmp_path: Path) -> None:
    arrays: dict[str, Any] = {names[0]: X, names[1]: Y}
    np.savez(tmp_path / "set.npz", **arrays)
    data = load(config(tmp_path / "set.npz"))
    assert data.test_is_split_off
    assert content(data.train) | content(data.test) == expected(X, Y, slice(30))


def test_arrays_without_names_are_told_apart_by_their_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", X, Y)
    data = load(config(tmp_path / "set.npz"))
    assert content(data.train) | content(data.test) == expected(X, Y, slice(30))
    np.savez(tmp_path / "set.npz", X, Y, X, Y)
    text = problems(tmp_path / "set.npz")
    assert "no array is named as images are, found arr_0 (30, 6, 5), arr_1 (30,)" in text
    assert "x_train and y_train" in text


def test_files_of_single_arrays(tmp_path: Path) -> None:
    for folder, names in (("flat", "{1}_{0}.npy"), ("nested", "{0}/{1}.npy"), ("deep", "a/b/{0}_{1}.npy")):
        for split, part in (("train", TRAIN), ("test", TEST)):
            for name, array in (("images", X), ("labels", Y)):
                path = tmp_path / folder / names.format(split, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array[part])
        (tmp_path / folder / "README.md").write_text("text")
        data = load(config(tmp_path / folder))
        check(data)
        assert data.layout.left_out == {"beside arrays, which are read": 1}
    text = problems(tmp_path / "flat" / "images_train.npy")
    assert "name the folder of both" in text


def test_a_file_for_each_split_and_several_sets(tmp_path: Path) -> None:
    for split, part in (("train", TRAIN), ("test", TEST)):
        np.savez(tmp_path / f"{split}.npz", images=X[part], labels=Y[part])
    check(load(config(tmp_path)))
    two = tmp_path / "two"
    two.mkdir()
    save(two / "blood.npz", *KERAS)
    save(two / "path.npz", *KERAS, y=2 - Y)
    text = problems(two)
    assert "found 2 train splits: blood/train (12 images), path/train (12 images)" in text
    named = {"train": "path/train", "test": "path/test"}
    check(load(config(two, splits=named)), y=2 - Y)
    check(load(config(two / "path.npz")), y=2 - Y)


def test_ambiguous_names_are_a_question(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x_train=X, images_train=X[:, :3], y_train=Y, age_train=Y, sex_train=1 - Y % 2)
    text = problems(path)
    assert "two arrays could hold the images of 'train': x_train, images_train" in text
    assert "data.image_column=images_train" in text
    assert load(config(path, image_column="images_train")).image_shape == (1, 3, 5)
    assert load(config(path, image_column="x", label_column="age")).class_names == ("0", "1", "2")
    assert load(config(path, image_column="x_train", label_column="sex")).class_names == ("0", "1")
    np.savez(path, photos_train=X, age_train=Y)
    data = load(config(path, image_column="photos", label_column="age"))
    assert content(data.train) | content(data.test) == expected(X, Y, slice(30))
    np.savez(path, x_train=X, y_train=Y, x_test=X)
    text = problems(path)
    assert "found the images x_test without labels" in text
    assert "data.label_column=NAME" in text
    assert load(config(path, splits={"train": "train"})).test_is_split_off


def test_names_say_what_an_array_is() -> None:
    assert [array_name([name]).part for name in ("image_labels", "ids", "class_names", "list_classes")] == [
        "labels", None, "names", "labels"
    ]  # fmt: skip
    assert array_name(["extra_images"]).role == "aside"
    assert array_name(["fold1", "test", "x"]).role == "test"


def test_the_names_of_classes_are_used(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", *KERAS, class_names=np.array(["cat", "dog", "eel"]))
    assert load(config(path)).class_names == ("cat", "dog", "eel")
    path = save(tmp_path / "set.npz", *KERAS, y=Y + 1, list_classes=np.array([b"cat", b"dog", b"eel"]))
    data = load(config(path))
    assert data.class_names == ("cat", "dog", "eel")
    check(data)
    path = save(tmp_path / "set.npz", *KERAS, class_names=np.array(["cat", "dog"]))
    assert "found 3 classes and 2 names of classes" in problems(path)


@pytest.mark.parametrize(
    "labels",
    [
        Y.astype(np.uint8)[:, None],
        Y.astype(np.float32),
        np.eye(3)[Y],
        np.eye(3, dtype=np.bool_)[Y],
        np.array(["0", "1", "2"])[Y],
        np.array([b"0", b"1", b"2"])[Y],
        (Y + 1).astype(np.int32),
        np.asfortranarray(np.eye(3, dtype=np.int64)[Y]),
    ],
    ids=lambda labels: f"{labels.dtype}{labels.shape}",
)
def test_labels_in_every_form(labels: np.ndarray, tmp_path: Path) -> None:
    data = load(config(save(tmp_path / "set.npz", *KERAS, y=labels)))
    check(data)
    one_hot = any("one-hot labels in y_train" in note for note in data.layout.notes)
    assert one_hot == (labels.shape == (30, 3))


def changed(values: Any, row: int, value: Any) -> np.ndarray:
    array = np.array(values)
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("labels", "text", "fix"),
    [
        (Y[:, None, None] * np.ones((30, 6, 5)), "the shape (12, 6, 5), as masks", "one whole number"),
        (changed(np.eye(3, dtype=int)[Y], 4, [1, 1, 0]), "classes an image, or none: row 4 has 2", "multi"),
        (changed(np.eye(3, dtype=int)[Y], 5, [0, 0, 0]), "row 5 has 0", "multi-label"),
        (changed(np.eye(3)[Y], 4, [0.5, 0.25, 0.25]), "are probabilities", "y.argmax(axis=1)"),
        (changed(np.eye(3)[Y], 4, [7.0, 1, 2]), "neither classes nor one-hot", "one class"),
        (changed(Y.astype(float), 3, 0.5), "no whole numbers, the first is 0.5 in row 3", "measured"),
        (changed(Y.astype(float), 2, np.nan), "the first is nan in row 2", "whole number"),
        (changed(Y, 7, -1), "found 1 negative labels of 12, the first is -1 in row 7", "without a class"),
        (Y + 1j, "labels of the type complex128", "one class"),
        (np.array([{}] * 30), "Python objects, which are pickled", "np.stack(images)"),
        (np.where(Y == 1, 2, Y), "no training images of '1'", "numbers have no gaps"),
        (Y * 0, "found one class", "another class"),
    ],
)  # fmt: skip
def test_labels_that_are_no_classes_are_refused(
    labels: np.ndarray, text: str, fix: str, tmp_path: Path
) -> None:
    message = problems(save(tmp_path / "set.npz", *KERAS, y=labels))
    assert text in message
    assert fix in message


def test_unequal_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=X, y_train=Y[:29])
    text = problems(tmp_path / "set.npz")
    assert "found 29 labels for 30 images" in text
    assert "y_train" in text


@pytest.mark.parametrize(
    ("images", "seen"),
    [
        (X, X[..., None]),
        (X[..., None], X[..., None]),
        (X[:, None], X[..., None]),
        (RGB, RGB),
        (np.moveaxis(RGB, -1, 1), RGB),
        (np.asfortranarray(RGB), RGB),
        (X.astype(np.int64), X[..., None]),
        (X.astype(np.uint16), X[..., None]),
        (X.astype(">u2") * 257, X[..., None]),
        (X / 255, X[..., None]),
        ((RGB / 255).astype(np.float16), RGB),
        (X.astype(np.float32), X[..., None]),
        (X > 127, 255 * (X > 127).astype(np.uint8)[..., None]),
    ],
    ids=lambda each: f"{each.dtype}{each.shape}",
)
def test_shapes_and_values(images: np.ndarray, seen: np.ndarray, tmp_path: Path) -> None:
    compressed = load(config(save(tmp_path / "set.npz", *KERAS, x=images)))
    check(compressed, seen)
    for name, part in (("train", TRAIN), ("test", TEST)):
        np.save(tmp_path / f"x_{name}.npy", images[part])
        np.save(tmp_path / f"y_{name}.npy", Y[part])
    (tmp_path / "set.npz").unlink()
    mapped = load(config(tmp_path))
    check(mapped, seen)
    assert mapped.fingerprint == compressed.fingerprint


def test_transparent_images_are_composited(tmp_path: Path) -> None:
    rgba = np.concatenate([RGB, np.where(X > 127, 255, 0)[..., None].astype(np.uint8)], axis=-1)
    data = load(config(save(tmp_path / "set.npz", *KERAS, x=rgba), background="#102030"))
    check(data, np.where(X[..., None] > 127, RGB, np.array([16, 32, 48], np.uint8)))


@pytest.mark.parametrize(
    ("images", "text", "fix"),
    [
        (X.reshape(30, 30), "found the shape (12, 30)", "x.reshape(-1, height, width)"),
        (np.zeros((30, 784), np.uint8), "found the shape (12, 784)", "x.reshape(-1, 28, 28)"),
        (np.zeros((30, 3072), np.uint8), "found the shape (12, 3072)", "(-1, 3, 32, 32)"),
        (np.zeros((30, 3, 8, 3), np.uint8), "second and the last axis could", 'data.channels="last"'),
        (np.zeros((30, 8, 8, 8), np.uint8), "no axis has 1, 3 or 4 channels", "volumes are not images"),
        (np.zeros((30, 8, 3, 8), np.uint8), "no axis has", "np.moveaxis(x, 2, -1)"),
        (np.zeros((30, 2, 3, 8, 8), np.uint8), "found the shape (12, 2, 3, 8, 8)", "3 or 4 axes"),
        (X - 128.0, "they look normalised", "levels of 0 to 255"),
        (changed(X / 255.0, 3, np.nan), "NaN or infinite pixels, the first in row 3", "nan_to_num"),
        (changed(X / 255.0, 3, np.inf), "NaN or infinite pixels", "nan_to_num"),
        (X / 15.9375, "float64 values of 0 to 16: their scale is not known", "floats of 0 to 1"),
        (X * 300.0, "expected at most 255", "levels of 0 to 255"),
        (X.astype(np.int32) * 300, "expected at most 255", "levels of 0 to 255"),
        ((X > 127).astype(np.int64), "values of 0 to 1: their scale is not known", "as x.astype(np.uint8)"),
        (X.astype(complex), "found complex128", "x.astype(np.uint8)"),
        (np.array([[["a"]]] * 30), "found <U1", "x.astype(np.uint8)"),
        (np.array([None] * 30), "Python objects, which are pickled", "class folders"),
        (np.zeros((30, 0, 5), np.uint8), "found images of 0x5 pixels", "smaller"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_images_are_refused(
    images: np.ndarray, text: str, fix: str, tmp_path: Path
) -> None:
    message = problems(save(tmp_path / "set.npz", *KERAS, x=images))
    assert text in message
    assert fix in message


def test_the_recipe_names_the_axis_of_the_channels(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (30, 3, 8, 3), dtype=np.uint8)
    path = save(tmp_path / "set.npz", *KERAS, x=images)
    check(load(config(path, channels="last")), images)
    check(load(config(path, channels="first")), np.moveaxis(images, 1, -1))
    path = save(tmp_path / "set.npz", *KERAS, x=X[..., None])
    assert "found 6 channels in the shape (12, 6, 5, 1)" in problems(path, channels="first")
    assert "data.channels has no effect" in problems("digits", channels="last")


def test_splits_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x_train=X / 255, y_train=Y, x_test=X.astype(float), y_test=Y)
    assert "x_train" in problems(path)
    assert "values above 1" in problems(path)
    np.savez(path, x_train=RGB, y_train=Y, x_test=np.moveaxis(RGB, -1, 1), y_test=Y)
    assert "expected one order of axes" in problems(path)
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y + 1)
    assert "no training images of '3'" in problems(path)


@given(arrays_of.arrays(np.float64, (2, 2, 3), elements=st.floats(0, 1)))
def test_floats_become_bytes_as_by_hand(images: np.ndarray) -> None:
    rule = pixel_rule([lazy_array("x", images)], None)
    found = rule.images(images)
    for value, level in zip(images.ravel().tolist(), found.ravel().tolist(), strict=True):
        assert abs(value * 255 - level) <= 0.5
    assert PixelRule(channels=None, scale="levels").images(found).tolist() == found.tolist()


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "set.npz", *KERAS, x=np.zeros((30, 200, 200), np.uint8))
    monkeypatch.setattr("convsmith.data.arrays.lazy._HARMLESS", 10_000)
    assert "bytes of the file become" in problems(path)


def member(content: bytes, name: str = "x_train.npy", **options: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content, **options)
    return target.getvalue()


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """Return an array in NumPy's format, with another shape in its header."""
    target = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(target, header)
    return target.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"PK\x03\x04 no archive",
        member(b"no array"),
        member(npy(X)[:-1]),
        member(npy(X, (10**9, 10**9, 10**9))),
        member(npy(X, (-30, 6, 5))),
        member(npy(X))[:-30],
        member(npy(X))[:200] + b"\0" * 50 + member(npy(X))[250:],
        member(b"\x93NUMPY\x03\x00" + npy(X)[8:]),
    ],
)
def test_damaged_archives_are_errors(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(damage)
    with pytest.raises(DataError, match=r"set\.npz"):
        load(config(tmp_path / "set.npz"))


def test_a_wrong_checksum_concerns_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    large = RANDOM.integers(0, 256, (30, 60, 50), dtype=np.uint8)
    np.savez(path, x_train=large, y_train=Y)
    packed = bytearray(path.read_bytes())
    packed[packed.index(large[20:].tobytes())] ^= 1
    path.write_bytes(packed)
    assert "Bad CRC-32" in problems(path, skip_damaged=True)
    with pytest.raises(DataError, match="Bad CRC-32"):
        verify(config(path))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", *KERAS)
    first = load(config(path)).fingerprint
    save(path, *KERAS, x=255 - X)
    assert load(config(path)).fingerprint != first
