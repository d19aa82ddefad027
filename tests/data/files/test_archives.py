"""Parquet, IDX, array and binary files in archives: the same data set as their folder."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.errors import DataError
from convsmith.system import member_files
from helpers.array_sets import WRITERS, write, write_npy, write_npz, write_parquet
from helpers.packed import packed
from helpers.sources import config, problems


def stored(root: Path) -> Path:
    """Pack a folder into a zip archive without compression."""
    path = root.parent / f"{root.name}-stored.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", "stored"])
@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_is_the_data_set_of_its_folder(kind: str, suffix: str, tmp_path: Path) -> None:
    root = write(kind, tmp_path / "set")
    archive = (
        stored(root)
        if suffix == "stored"
        else packed(root, suffix, wrapped=suffix == ".tar.gz" and "paths" not in kind)
    )
    folder, data = load(config(root)), load(config(archive))
    assert data.fingerprint == folder.fingerprint
    assert data.split_fingerprints() == folder.split_fingerprints()
    assert data.class_names == folder.class_names
    assert data.layout.left_out == folder.layout.left_out
    assert data.layout.description.startswith("an archive of ")
    assert np.array_equal(np.asarray(data.train.images), np.asarray(folder.train.images))
    assert verify(config(archive)).counts == verify(config(root)).counts
    # Nothing stays on disk but the cache.
    assert not [path for path in tmp_path.iterdir() if path not in {root, archive}]


def test_large_members_are_copied_to_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_files, "_SMALL", 100)
    cache = tmp_path / "cache"
    monkeypatch.setenv("CONVSMITH_CACHE", str(cache))
    root = write("parquet", tmp_path / "set")
    expected = load(config(root))
    before = sorted(path for path in cache.iterdir() if not path.is_dir())
    data = load(config(packed(root, ".tar.gz")))
    assert data.fingerprint == expected.fingerprint
    assert sorted(path for path in cache.iterdir() if not path.is_dir()) == before


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_more_than_the_limit_is_not_copied(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_files, "_MAX_COPIED", 100)
    text = problems(packed(write(kind, tmp_path / "set"), ".tar.gz"))
    assert "would have to be copied, expected at most 100" in text
    assert "fix: unpack it, and name the folder" in text
    # A plain tar file is read where it is.
    load(config(packed(tmp_path / "set", ".tar")))


def test_a_disk_that_is_too_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_files, "_SMALL", 100)
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)))
    archive = packed(write("npz", tmp_path / "set"), ".zip")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(Exception, match="not enough disk space"):
        load(config(archive))


def _damage(archive: Path, content: bytes) -> None:
    """Change a byte of a member that is not compressed; its checksum stays."""
    whole = bytearray(archive.read_bytes())
    whole[whole.index(content) + len(content) // 2] ^= 1
    archive.write_bytes(whole)


@pytest.mark.parametrize(
    ("kind", "member"),
    [("IDX", "train-images-idx3-ubyte"), ("CIFAR-10", "data_batch_1.bin"), ("npy", "train/x.npy")],
)
def test_a_wrong_checksum_refuses_a_member(kind: str, member: str, tmp_path: Path) -> None:
    root = write(kind, tmp_path / "set")
    archive = stored(root)
    _damage(archive, (root / member).read_bytes())
    text = problems(archive, skip_damaged=True)
    assert "Bad CRC-32" in text
    assert member.removesuffix(".npy") in text
    with pytest.raises(DataError, match="Bad CRC-32"):
        verify(config(archive))


def test_a_damaged_shard_costs_only_itself(tmp_path: Path) -> None:
    root = write("parquet", tmp_path / "set")
    shard = (root / "train-00000-of-00001.parquet").read_bytes()
    (root / "train-00000-of-00001.parquet").rename(root / "train-00000-of-00002.parquet")
    (root / "train-00001-of-00002.parquet").write_bytes(shard[:-4] + b"PAR2")
    archive = stored(root)
    _damage(archive, shard[:-4] + b"PAR2")
    text = problems(archive)
    assert "train-00001-of-00002.parquet" in text
    assert "Bad CRC-32" in text
    issues = verify(config(archive)).issues
    assert [each.file for each in issues if each.kind == "unreadable"] == ["train-00001-of-00002.parquet"]


def test_cut_and_pickled_members(tmp_path: Path) -> None:
    root = write("IDX", tmp_path / "set")
    images = root / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-30])
    text = problems(packed(root, ".tar.gz"))
    assert "the file ends before this image" in text
    assert "train-images-idx3-ubyte, image 11" in text
    objects = tmp_path / "objects"
    objects.mkdir()
    np.savez(objects / "a.npz", x_train=np.array([object()] * 3, dtype=object), y_train=np.arange(3))
    assert "the array has Python objects, which are pickled" in problems(packed(objects, ".zip"))


def test_settings_belong_to_what_the_archive_has(tmp_path: Path) -> None:
    archive = packed(write("IDX", tmp_path / "idx"), ".zip")
    assert "data.label_column has no effect" in problems(archive, label_column="label")
    pictures = packed(write("parquet with paths", tmp_path / "paths"), ".zip")
    assert "data.channels has no effect" in problems(pictures, channels="last")
    shards = packed(write("parquet", tmp_path / "shards"), ".zip")
    data = load(config(shards, splits={"train": "train"}, group="place", label_column="label"))
    assert data.grouping is not None
    assert data.grouping.groups == 3
    assert "gives no group" not in problems(shards, group=r"(\d)")
    both = tmp_path / "both"
    both.mkdir()
    write_npz(both)
    write_npy(both)
    write_parquet(both)
    # As in a folder: parquet files come first.
    assert load(config(packed(both, ".zip"))).fingerprint == load(config(both)).fingerprint


def test_rows_never_lead_out_of_the_archive(tmp_path: Path) -> None:
    root = write("parquet with paths", tmp_path / "set")
    (root / "images" / "3.png").rename(tmp_path / "3.png")
    text = problems(packed(root, ".zip"))
    assert "only the path of a file that the archive does not have: images/3.png" in text
