"""Signatures: what makes the cache decode a data set again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile, features

from convsmith.data import signatures
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, load
from convsmith.data.files.listing import list_files
from convsmith.data.signatures import decode_signature, file_signature
from convsmith.system import stamps
from helpers.sources import Folder, config, parquet, png

Change = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the files of a test as if they were older than the clock's tick."""
    monkeypatch.setattr(stamps, "TICK_NS", -(10**12))


def signature(root: Path) -> str:
    return file_signature(list_files(root), root)


def restore_times(path: Path, status: os.stat_result) -> None:
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def bmp(path: Path, value: int) -> None:
    """Write an image whose file has the same size for every value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)
    os.utime(path, ns=(10**18, 10**18))


def bmp_folder(root: Path) -> Path:
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("a", "b")):
            for number in range(count):
                bmp(root / split / name / f"{number}.bmp", 100 * label + 10 * number + (split == "test"))
    return root


def pixels(data: ImageDataset) -> dict[int, list[int]]:
    """The pixel values of each training label."""
    images, labels = np.asarray(data.train.images)[:, 0, 0, 0], data.train.labels
    return {label: sorted(images[labels == label].tolist()) for label in set(labels.tolist())}


def swap_folders(root: Path) -> None:
    first, second, between = root / "train" / "a", root / "train" / "b", root / "between"
    first.rename(between)
    second.rename(first)
    between.rename(second)


def replace_in_place(root: Path) -> None:
    path = root / "train" / "a" / "0.bmp"
    status, size = path.stat(), path.stat().st_size
    content = bytearray(path.read_bytes())
    content[-64:] = bytes([200]) * 64
    with path.open("r+b") as file:
        file.write(content)
    restore_times(path, status)
    assert path.stat().st_size == size
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def replace_by_rename(root: Path) -> None:
    path = root / "train" / "a" / "0.bmp"
    bmp(root / "new.bmp", 200)
    (root / "new.bmp").replace(path)


def exchange_two_files(root: Path) -> None:
    first, second, between = root / "train" / "a" / "0.bmp", root / "train" / "b" / "0.bmp", root / "x"
    first.rename(between)
    second.rename(first)
    between.rename(second)


def exchange_by_links(root: Path) -> None:
    """A link whose target changes: the file behind it counts."""
    path, store = root / "train" / "a" / "0.bmp", root.parent / "store"
    bmp(store / "0.bmp", 200)
    path.unlink()
    path.symlink_to(store / "0.bmp")


def exchange_by_hard_links(root: Path) -> None:
    path, store = root / "train" / "a" / "0.bmp", root.parent / "store"
    bmp(store / "0.bmp", 200)
    path.unlink()
    os.link(store / "0.bmp", path)


def replace_by_copy(root: Path) -> None:
    """A restored backup, with the times of its files."""
    copy = root.parent / "copy"
    shutil.copytree(root, copy)
    bmp(copy / "train" / "a" / "0.bmp", 200)
    shutil.rmtree(root)
    shutil.copytree(copy, root)


CHANGES = [
    swap_folders,
    replace_in_place,
    replace_by_rename,
    exchange_two_files,
    exchange_by_links,
    exchange_by_hard_links,
    replace_by_copy,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_that_keeps_sizes_and_times_is_noticed(tmp_path: Path, change: Change) -> None:
    root = bmp_folder(tmp_path / "data")
    before, old = pixels(load(config(root))), signature(root)
    assert signature(root) == old
    change(root)
    after = pixels(load(config(root)))
    assert signature(root) != old
    expected = {
        label: sorted(int(np.asarray(Image.open(path))[0, 0]) for path in (root / "train" / name).iterdir())
        for label, name in enumerate(("a", "b"))
    }
    assert after == expected != before


def test_a_parquet_file_replaced_with_its_times(tmp_path: Path) -> None:
    columns = {"image": [png(value) for value in range(8)], "label": [0, 1] * 4}
    root, other = (
        parquet(tmp_path / "one", columns),
        parquet(tmp_path / "two", {**columns, "label": [1, 0] * 4}),
    )
    (path,), (changed,) = root.rglob("*.parquet"), other.rglob("*.parquet")
    assert path.stat().st_size == changed.stat().st_size
    status, before = path.stat(), pixels(load(config(root)))
    path.write_bytes(changed.read_bytes())
    restore_times(path, status)
    after = pixels(load(config(root)))
    assert set(before[0]) & set(after[0]) == set()


def test_a_change_within_a_tick_of_the_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within a tick give equal times: only the content differs."""
    path = tmp_path / "a.bmp"
    path.write_bytes(b"one")
    status = path.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: status)
    monkeypatch.setattr(stamps, "TICK_NS", 10**12)
    before = file_signature([path], tmp_path)
    path.write_bytes(b"two")
    assert file_signature([path], tmp_path) != before
    monkeypatch.setattr(stamps, "TICK_NS", -(10**12))
    old = file_signature([path], tmp_path)
    path.write_bytes(b"six")
    assert file_signature([path], tmp_path) == old


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_option_that_decodes_counts() -> None:
    """A field added to `[data]` counts, unless it is listed as one that only splits, stores or normalises."""
    base = DataConfig(source="x")
    values = {"source": "y", "validation": 0.1, "test_fraction": 0.3, "split_seed": 5, "keep_in": "disk"}
    values |= {"mean": (0.5,), "std": (0.5,), "fold": "1/5"}
    assert decode_signature(base) == decode_signature(base.model_copy(update=values))
    for field in set(DataConfig.model_fields) - set(values):
        changed = base.model_copy(update={field: "another value"})
        assert decode_signature(changed) != decode_signature(base), field


def test_the_decoder_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = (
        (PIL, "__version__", "0.1"),
        (signatures, "DECODE_VERSION", -1),
    )
    found = {decode_signature(DataConfig(source="x"))}
    for module, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            found.add(decode_signature(DataConfig(source="x")))
    assert len(found) == 1 + len(changes)


def test_images_decoded_in_a_lenient_process_do_not_stay(
    image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": 4, "test": 2})
    lenient = load(config(root, skip_damaged=True))
    path = root / "train" / "zero" / "0.png"
    path.write_bytes(path.read_bytes()[:-20])
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        load(config(root, skip_damaged=True))
    strict = load(config(root, skip_damaged=True))
    assert [issue.file for issue in strict.dropped] == ["train/zero/0.png"]
    assert len(strict.train) == len(lenient.train) - 1


@pytest.mark.parametrize("codec", ["jpg", "libjpeg_turbo", "webp", "libtiff", "zlib", "avif", "littlecms2"])
def test_another_version_of_a_codec_decodes_again(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = decode_signature(DataConfig(source="x")), features.version
    monkeypatch.setattr(features, "version", lambda name: "0" if name == codec else version(name))
    assert decode_signature(DataConfig(source="x")) != before
