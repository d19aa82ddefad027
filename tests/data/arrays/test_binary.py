"""The binary versions of CIFAR-10, CIFAR-100 and STL-10, written by their documented formats."""

import os
from pathlib import Path

import numpy as np
import pytest

from convsmith.data.dataset import Split, load
from helpers.sources import config, problems

RANDOM = np.random.default_rng(0)
NAMES = [f"class {letter}" for letter in "abcde"]


def images(count: int, side: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def cifar_row(image: np.ndarray, *labels: int) -> bytes:
    """Return the labels, then all red, all green and all blue pixels, row by row."""
    return bytes(labels) + b"".join(image[:, :, channel].tobytes() for channel in range(3))


def check(split: Split, pixels: np.ndarray, labels: np.ndarray) -> None:
    expected = {(image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True)}
    found = zip(np.asarray(split.images), split.labels.tolist(), strict=True)
    assert {(image.tobytes(), label) for image, label in found} == expected


def write_cifar10(root: Path, *, named: bool = True) -> tuple[np.ndarray, np.ndarray]:
    root.mkdir(parents=True)
    pixels, labels = images(25, 32), np.arange(25) % 5
    for number in range(2):
        part = range(10 * number, 10 * number + 10)
        rows = [cifar_row(pixels[index], int(labels[index])) for index in part]
        (root / f"data_batch_{number + 1}.bin").write_bytes(b"".join(rows))
    rows = [cifar_row(pixels[index], int(labels[index])) for index in range(20, 25)]
    (root / "test_batch.bin").write_bytes(b"".join(rows))
    (root / "readme.html").write_text("text")
    if named:
        (root / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return pixels, labels


@pytest.mark.parametrize("named", [True, False])
def test_cifar_10(named: bool, tmp_path: Path) -> None:
    pixels, labels = write_cifar10(tmp_path / "a" / "cifar-10-batches-bin", named=named)
    data = load(config(tmp_path))
    check(data.train, pixels[:20], labels[:20])
    check(data.test, pixels[20:], labels[20:])
    assert data.class_names == (tuple(NAMES) if named else tuple("01234"))
    assert data.layout.description == "CIFAR-10, binary version"
    assert data.layout.left_out == {"beside the binary files, which are read": 1}


def test_cifar_100_has_fine_labels(tmp_path: Path) -> None:
    pixels, labels = images(20, 32), np.arange(20) % 5
    for name, part in (("train.bin", range(10)), ("test.bin", range(10, 20))):
        rows = [cifar_row(pixels[index], index % 2, int(labels[index])) for index in part]
        (tmp_path / name).write_bytes(b"".join(rows))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(NAMES))
    (tmp_path / "coarse_label_names.txt").write_text("odd\neven")
    data = load(config(tmp_path))
    check(data.train, pixels[:10], labels[:10])
    check(data.test, pixels[10:], labels[10:])
    assert data.class_names == tuple(NAMES)


def test_stl_10_is_stored_by_columns_and_counts_from_1(tmp_path: Path) -> None:
    pixels, labels = images(20, 96), np.arange(20) % 5
    for name, part in (("train", slice(10)), ("test", slice(10, 20))):
        by_columns = b"".join(
            image[:, column, channel].tobytes()
            for image in pixels[part]
            for channel in range(3)
            for column in range(96)
        )
        (tmp_path / f"{name}_X.bin").write_bytes(by_columns)
        (tmp_path / f"{name}_y.bin").write_bytes(bytes((labels[part] + 1).tolist()))
    (tmp_path / "class_names.txt").write_text("\n".join(NAMES))
    (tmp_path / "unlabeled_X.bin").write_bytes(b"")
    (tmp_path / "fold_indices.txt").write_text("1 2 3")
    data = load(config(tmp_path))
    check(data.train, pixels[:10], labels[:10])
    check(data.test, pixels[10:], labels[10:])
    assert data.class_names == tuple(NAMES)
    assert sum(data.layout.left_out.values()) == 2
    (tmp_path / "test_y.bin").write_bytes(bytes(9))
    assert "found 9 labels in test_y.bin for 10 images" in problems(tmp_path)
    (tmp_path / "test_y.bin").unlink()
    assert "add test_y.bin" in problems(tmp_path)


def test_files_that_are_no_whole_images_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_cifar10(root)
    with (root / "data_batch_2.bin").open("ab") as file:
        file.write(b"\0")
    text = problems(root)
    assert "found 30,731 bytes, expected a multiple of 3,073" in text
    assert "data_batch_2.bin" in text
    (root / "data_batch_2.bin").write_bytes(b"")
    assert "found 0 bytes" in problems(root)
    (root / "data_batch_2.bin").write_bytes(cifar_row(images(1, 32)[0], 9))
    assert "bad label" in problems(root)
    (root / "batches.meta.txt").write_bytes(b"\xff\xfe\xff")
    assert "not UTF-8" in problems(root)
    assert "needs a validation split, found train, test" in problems(root, validation="split")
    assert "data.splits has no effect" in problems(root, splits={"train": "a"})


def test_two_copies_are_a_question(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_cifar10(tmp_path / name)
    text = problems(tmp_path)
    assert "in several folders: a, b" in text


@pytest.mark.real_data
@pytest.mark.usefixtures("real_data")
@pytest.mark.slow
def test_the_binary_version_of_the_real_data_is_cifar_10(tmp_path: Path) -> None:
    """The fingerprint of the canonical data set, from rows that are written by the documented format."""
    real = load(config("cifar10"))
    for name, split in (("data_batch_1", real.train), ("test_batch", real.test)):
        pixels = np.asarray(split.images).transpose(0, 3, 1, 2).reshape(len(split), -1)
        rows = np.concatenate([split.labels.astype(np.uint8)[:, None], pixels], axis=1)
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    data = load(config(tmp_path))
    assert data.identity == "CIFAR-10, verified"
    assert os.path.getsize(tmp_path / "test_batch.bin") == 30_730_000  # noqa: PTH202
