"""The cache: its fingerprint, its order, and damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.cache import cache_folder
from convsmith.data.dataset import load
from helpers.sources import Folder, config, problems


def test_names_and_order_of_files_do_not_matter(image_folder: Folder, tmp_path: Path) -> None:
    root = image_folder({"train": 6, "test": 3})
    shuffled = tmp_path / "copy"
    for number, path in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        target = shuffled / path.relative_to(root).parent / f"picture {number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    first, second = load(config(root)), load(config(shuffled))
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.train.images, second.train.images)
    assert np.array_equal(first.train.labels, second.train.labels)


def test_one_changed_pixel_changes_the_fingerprint(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    before = load(config(root)).fingerprint
    path = root / "test" / "zero" / "0.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert load(config(root)).fingerprint != before


def test_a_second_load_reads_the_cache(image_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = image_folder({"train": 4, "test": 2})
    first = load(config(root))

    def never(*arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("convsmith.data.cache.read_source", never)
    assert load(config(root)).fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="read again"):
        load(config(root, resize=16))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"content": "../..", "class_names": 3}'])
def test_a_damaged_index_is_rebuilt(image_folder: Folder, content: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    first = load(config(root))
    (index,) = (path for path in (cache_folder() / "sources").iterdir() if str(root) in path.read_text())
    index.write_text(content)
    second = load(config(root))
    assert (second.fingerprint, second.class_names) == (first.fingerprint, first.class_names)


def test_equal_images_keep_their_own_class_names(image_folder: Folder) -> None:
    first = load(config(image_folder({"train": 4, "test": 2})))
    second = load(config(image_folder({"train": 4, "test": 2}, classes=("z", "a", "b"), name="renamed")))
    third = load(config(image_folder({"train": 4, "test": 2}, classes=("c", "a", "b"), name="again")))
    assert (second.class_names, third.class_names) == (("a", "b", "z"), ("a", "b", "c"))
    assert first.fingerprint == second.fingerprint == third.fingerprint


def test_the_cache_holds_no_leftovers(image_folder: Folder) -> None:
    load(config(image_folder({"train": 4, "test": 2})))
    assert list(cache_folder().rglob("*.tmp")) == []


@pytest.mark.parametrize("name", ["train-images.npy", "test-images.npy", "train-labels.npy"])
def test_a_damaged_cache_names_the_folder_to_remove(image_folder: Folder, name: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    (content,) = cache_folder().glob(f"*/{load(config(root)).fingerprint}")
    damaged = bytearray((content / name).read_bytes())
    damaged[-1] ^= 1
    (content / name).write_bytes(damaged)
    message = problems(root)
    assert f"the SHA-256 of {name} differs" in message
    assert str(content) in message
    assert "remove this folder" in message
    shutil.rmtree(content)
    assert len(load(config(root)).train) == 12


def test_all_unreadable_images_are_listed_and_unchanged(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    truncated, text = root / "train" / "one" / "2.png", root / "test" / "two" / "1.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    text.write_text("this is text")
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    message = problems(root)
    assert message.count("error[E040]") == 2
    assert f"{truncated}: unreadable: " in message
    assert f"{text}: unreadable: not an image in one of the formats" in message
    assert "no file was changed" in message
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_many_unreadable_images_are_counted(image_folder: Folder) -> None:
    root = image_folder({"train": 6, "test": 3})
    for path in (root / "train").rglob("*.png"):
        path.write_text("no image")
    message = problems(root)
    assert message.count("error[E040]") == 5
    assert "13 more" in message


def test_a_single_class_is_rejected(image_folder: Folder) -> None:
    assert "found one class" in problems(image_folder({"train": 4, "test": 2}, classes=("only",)))
