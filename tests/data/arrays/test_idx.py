"""IDX files: the images and labels of MNIST's own distribution, packed or not."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from convsmith.data.dataset import load
from helpers.sources import config, problems, tree

PIXELS = np.arange(20 * 4 * 5, dtype=np.uint32).reshape(20, 4, 5).astype(np.uint8)
LABELS = np.array([0, 1] * 10, dtype=np.uint8)
NAMES = [
    ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
    ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"),
    ("emnist-mnist-train-images-idx3-ubyte", "emnist-mnist-test-images-idx3-ubyte"),
]  # fmt: skip


def content(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(root: Path, images: str, pixels: np.ndarray, labels: np.ndarray, *, packed: bool = True) -> None:
    for name, array in (
        (images, pixels),
        (images.replace("images", "labels").replace("idx3", "idx1"), labels),
    ):
        root.mkdir(parents=True, exist_ok=True)
        path = root / (name + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content(array), mtime=0) if packed else content(array))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("names", NAMES)
def test_images_and_labels_are_read(names: tuple[str, str], packed: bool, tmp_path: Path) -> None:
    write(tmp_path / "raw", names[0], PIXELS[:14], LABELS[:14], packed=packed)
    write(tmp_path / "raw", names[1], PIXELS[14:], LABELS[14:], packed=packed)
    data = load(config(tmp_path))
    assert data.class_names == ("0", "1")
    assert data.image_shape == (1, 4, 5)
    for split, pixels, labels in (
        (data.train, PIXELS[:14], LABELS[:14]),
        (data.test, PIXELS[14:], LABELS[14:]),
    ):
        expected = {(image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True)}
        found = zip(np.asarray(split.images), split.labels, strict=True)
        assert {(image.tobytes(), int(label)) for image, label in found} == expected


def test_a_training_set_alone_is_split_and_a_packed_copy_is_counted(tmp_path: Path) -> None:
    for packed in (True, False):
        write(tmp_path, NAMES[0][0], PIXELS, LABELS, packed=packed)
    data = load(config(tmp_path))
    assert data.test_is_split_off
    assert data.layout.left_out == {"an IDX file of the same name is read": 2}


def test_several_training_sets_are_ambiguous(tmp_path: Path) -> None:
    for kind in ("letters", "digits"):
        write(tmp_path, f"emnist-{kind}-train-images-idx3-ubyte", PIXELS, LABELS)
    assert "2 train splits: emnist-digits-train, emnist-letters-train" in problems(tmp_path)
    data = load(config(tmp_path, splits={"train": "emnist-letters-train"}))
    assert data.layout.left_out == {"in the split emnist-digits-train": 2}
    assert "no split 'letters'" in problems(tmp_path, splits={"train": "letters"})


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-{}", "t10k-{}"),
        ("train/{}", "test/{}"),
        ("train-{0}/train-{0}", "t10k-{0}/t10k-{0}"),
        ("{0}/train-{0}", "{0}/t10k-{0}"),
        ("{}", None),
    ],
)
def test_pairs_are_found_in_any_folders(train: str, test: str | None, tmp_path: Path) -> None:
    for pattern, part in ((train, slice(14)), (test, slice(14, 20))):
        for name, array in (("images-idx3-ubyte", PIXELS), ("labels-idx1-ubyte", LABELS)):
            if pattern:
                path = tmp_path / pattern.format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content(array[part]))
    data = load(config(tmp_path))
    assert data.test_is_split_off == (test is None)
    pairs = {
        (np.asarray(image).tobytes(), int(label))
        for split in data.splits.values()
        for image, label in zip(split.images, split.labels, strict=True)
    }
    count = 20 if test else 14
    assert pairs == {(PIXELS[number].tobytes(), int(LABELS[number])) for number in range(count)}


def test_images_of_one_folder_never_get_the_labels_of_another(tmp_path: Path) -> None:
    for folder, packed in (("a", "labels"), ("b", "images")):
        for part, array in (("images-idx3", PIXELS), ("labels-idx1", LABELS)):
            (tmp_path / folder).mkdir(exist_ok=True)
            data = content(array if folder == "a" or part == "images-idx3" else 1 - array)
            is_packed = part.startswith(packed)
            path = tmp_path / folder / f"train-{part}-ubyte{'.gz' if is_packed else ''}"
            path.write_bytes(gzip.compress(data, mtime=0) if is_packed else data)
    assert "found 2 train splits: a/train, b/train" in problems(tmp_path)
    train = load(config(tmp_path, splits={"train": "b/train"})).train
    found = {
        (np.asarray(image).tobytes(), int(label))
        for image, label in zip(train.images, train.labels, strict=True)
    }
    assert found <= {(PIXELS[number].tobytes(), 1 - int(LABELS[number])) for number in range(20)}


def test_what_is_beside_idx_files_is_counted(tmp_path: Path) -> None:
    write(tmp_path, NAMES[0][0], PIXELS, LABELS)
    tree(tmp_path, "sample.png", "more/2.png", "README.txt", ".hidden.png")
    os.mkfifo(tmp_path / "t10k-images-idx3-ubyte")
    left_out = load(config(tmp_path)).layout.left_out
    assert left_out == {"beside IDX files, which are read": 4, "hidden": 1}


def test_classes_from_one(tmp_path: Path) -> None:
    # EMNIST's letters are 1 to 26.
    write(tmp_path, "emnist-letters-train-images-idx3-ubyte", PIXELS[:14], LABELS[:14] + 1)
    write(tmp_path, "emnist-letters-test-images-idx3-ubyte", PIXELS[14:], LABELS[14:] + 1)
    data = load(config(tmp_path))
    assert data.class_names == ("1", "2")
    for split, part in ((data.train, slice(14)), (data.test, slice(14, 20))):
        expected = {image.tobytes(): label for image, label in zip(PIXELS[part], LABELS[part], strict=True)}
        found = zip(np.asarray(split.images), split.labels, strict=True)
        assert {image.tobytes(): label for image, label in found} == expected


@pytest.mark.parametrize(
    ("name", "damaged", "what"),
    [
        ("labels-idx1", content(LABELS)[:-1], "found 19 labels, expected 20"),
        ("labels-idx1", content(LABELS) + b"1", "found more labels, expected 20"),
        ("labels-idx1", content(LABELS[:9]), "found 20 images by its header for 9 labels"),
        ("labels-idx1", content(PIXELS), "expected 00 00 08 01"),
        ("labels-idx1", b"", "expected 00 00 08 01"),
        ("labels-idx1", struct.pack(">4BI", 0, 0, 8, 1, 2**32 - 1), "found 4,294,967,295 labels"),
        ("labels-idx1", gzip.compress(content(LABELS), mtime=0)[:-9], "Compressed file ended"),
        ("images-idx3", struct.pack(">4B3I", 0, 0, 8, 3, 20, 2**31, 2**31), "pixels, expected at most"),
        ("images-idx3", b"\x80\x04 a pickle      ", "expected 00 00 08 03"),
        ("images-idx3", content(PIXELS)[:-1], "image 19: unreadable: the file ends before this image"),
        ("images-idx3", gzip.compress(content(PIXELS), mtime=0)[:60], "unreadable: the file is damaged here"),
        ("images-idx3", None, "found no file of the images of 'train'"),
    ],
)
def test_damage(name: str, damaged: bytes | None, what: str, tmp_path: Path) -> None:
    write(tmp_path, NAMES[0][0], PIXELS, LABELS, packed=False)
    path = tmp_path / f"train-{name}-ubyte"
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    assert what in problems(tmp_path)


def test_a_file_names_its_folder(tmp_path: Path) -> None:
    write(tmp_path, NAMES[0][0], PIXELS, LABELS)
    assert "name the folder that this IDX file is in" in problems(tmp_path / "train-images-idx3-ubyte.gz")
