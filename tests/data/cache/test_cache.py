"""The cache: its fingerprint, its order, and damage."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.data.sources import read_source
from convsmith.errors import DataError, FileError
from convsmith.system.folders import cache_folder
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

    def never(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("convsmith.data.cache.cache.read_source", never)
    assert load(config(root)).fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="read again"):
        load(config(root, resize=16))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"content": "../..", "class_names": 3}'])
def test_a_damaged_index_is_rebuilt(image_folder: Folder, content: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    first = load(config(root))
    (index,) = (path for path in (cache_folder() / "sources").glob("*.json") if str(root) in path.read_text())
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
    (content,) = cache_folder().glob(f"*/{load(config(root)).fingerprint}-*")
    damaged = bytearray((content / name).read_bytes())
    damaged[-1] ^= 1
    (content / name).write_bytes(damaged)
    message = problems(root)
    assert f"the SHA-256 of {name} differs" in message
    assert str(content) in message
    assert "--refresh" in message
    assert "remove this folder" in message
    assert len(load(config(root), refresh=True).train) == 12
    assert len(load(config(root)).train) == 12
    shutil.rmtree(content)
    assert len(load(config(root)).train) == 12


def index_of(root: Path) -> list[Path]:
    return sorted(
        path for path in (cache_folder() / "sources").glob("*.json") if str(root) in path.read_text()
    )


def test_edited_class_names_of_the_index_are_not_believed(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    names = load(config(root)).class_names
    (index,) = index_of(root)
    record = json.loads(index.read_text())
    index.write_text(json.dumps({**record, "class_names": record["class_names"][::-1]}))
    assert load(config(root)).class_names == names


@pytest.mark.parametrize(
    "field", ["content", "meta_sha256", "dropped", "source", "key", "class_names", "sha256"]
)
def test_every_field_of_the_index_is_hashed(image_folder: Folder, field: str) -> None:
    root = image_folder({"train": 4, "test": 2})
    load(config(root))
    (index,) = index_of(root)
    valid = index.read_text()
    record = json.loads(valid)
    issue = {"kind": "unreadable", "file": "x", "reason": "y"}
    changed = [issue] if isinstance(record[field], list) else record[field][::-1]
    index.write_text(json.dumps({**record, field: changed}))
    assert load(config(root)).dropped == ()
    assert index.read_text() == valid


def test_exchanged_entries_are_not_believed(image_folder: Folder) -> None:
    roots = [image_folder({"train": count, "test": 2}, name=name) for count, name in ((4, "x"), (5, "y"))]
    prints = [load(config(root)).fingerprint for root in roots]
    (first,), (second,) = map(index_of, roots)
    texts = first.read_bytes(), second.read_bytes()
    first.write_bytes(texts[1])
    second.write_bytes(texts[0])
    assert [load(config(root)).fingerprint for root in roots] == prints


def test_images_exchanged_with_their_hashes_are_not_believed(image_folder: Folder) -> None:
    """All files of one folder in the place of another: each is whole, but not what the index means."""
    roots = [image_folder({"train": count, "test": 2}, name=name) for count, name in ((4, "x"), (5, "y"))]
    first, second = (next(cache_folder().glob(f"*/{load(config(root)).fingerprint}-*")) for root in roots)
    shutil.rmtree(first)
    shutil.copytree(second, first)
    assert "the SHA-256 of meta.json differs" in problems(roots[0])


def test_refresh_decodes_again_and_forgets_other_options(
    image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 4, "test": 2})
    before = load(config(root))
    load(config(root, resize=8))
    assert len(index_of(root)) == 2
    read = Mock(side_effect=read_source)
    monkeypatch.setattr("convsmith.data.cache.cache.read_source", read)
    assert load(config(root), refresh=True).fingerprint == before.fingerprint
    assert read.call_count == 1
    assert len(index_of(root)) == 1


def test_verification_can_refresh(image_folder: Folder) -> None:
    root = image_folder({"train": 4, "test": 2})
    load(config(root))
    verify(config(root))
    assert len(index_of(root)) == 1
    verify(config(root), refresh=True)
    assert index_of(root) == []


def test_processes_that_refresh_together_agree(image_folder: Folder) -> None:
    root = image_folder({"train": 8, "test": 2})
    expected = load(config(root)).fingerprint
    code = (
        "import sys; from convsmith.data.config import DataConfig; from convsmith.data.dataset import load\n"
        "for _ in range(5): print(load(DataConfig(source=sys.argv[1]), refresh=True).fingerprint)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = [line for process in processes for line in process.communicate()[0].split()]
    assert found == [expected] * 15
    assert load(config(root)).fingerprint == expected
    assert [path.name for path in cache_folder().rglob(".scratch-*")] == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("part", ["sources", "content-3", "."])
def test_a_cache_without_permissions(
    image_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "own"))
    root = image_folder({"train": 4, "test": 2})
    load(config(root))
    folder = cache_folder() / part
    folder.chmod(0)
    try:
        with pytest.raises((FileError, DataError), match=r"cannot write|Permission denied"):
            load(config(root))
    finally:
        folder.chmod(0o755)


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
