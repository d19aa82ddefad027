"""Archives as sources: the same data set as the folder that was packed."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.data.checks.verify import verify
from convsmith.data.dataset import load
from convsmith.errors import DataError
from convsmith.system import stamps
from helpers.faults import TINY
from helpers.packed import FORMATS, packed
from helpers.sources import Folder, classes, config, problems, tree


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("suffix", list(FORMATS))
def test_an_archive_is_the_data_set_of_its_folder(
    suffix: str, wrapped: bool, image_folder: Folder, tmp_path: Path
) -> None:
    root = image_folder({"train": 6, "test": 3}, colour=True)
    (root / "notes.txt").write_text("text")
    (root / ".hidden").mkdir()
    tree(root, ".hidden/a.png", "__MACOSX/train/one/._0.png")
    folder, archive = load(config(root)), load(config(packed(root, suffix, wrapped=wrapped)))
    assert archive.fingerprint == folder.fingerprint
    assert archive.class_names == folder.class_names == ("one", "two", "zero")
    assert np.array_equal(archive.train.images, folder.train.images)
    assert np.array_equal(archive.test.labels, folder.test.labels)
    assert archive.layout.left_out == folder.layout.left_out
    assert archive.layout.description.startswith("an archive of class folders in ")
    assert archive.title == f"pictures-packed{suffix}"


def test_an_archive_is_split_as_its_folder(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", *classes("", images=9))
    options = {"validation": 0.25, "group": r"(\d)\.png"}
    folder = load(config(root, **options))
    for suffix in (".zip", ".tar.gz"):
        archive = load(config(packed(root, suffix), **options))
        assert archive.split_fingerprints() == folder.split_fingerprints()
        assert archive.grouping == folder.grouping


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_verification_names_the_members(suffix: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "set", *classes("", images=5))
    (root / "cat" / "9.png").write_bytes(b"This is no image")
    (root / "dog" / "9.png").write_bytes((root / "cat" / "0.png").read_bytes())
    archive = packed(root, suffix)
    folder, found = verify(config(root)), verify(config(archive))
    assert found.location == str(archive)
    assert {each.kind: each.file for each in found.issues} == {
        "unreadable": "cat/9.png",
        "duplicate": "dog/9.png",
    }
    assert sorted(map(str, found.issues)) == sorted(map(str, folder.issues))
    assert f"{archive}/cat/9.png" in problems(archive)
    assert len(load(config(archive, skip_damaged=True)).dropped) == 1


def test_a_changed_archive_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "TICK_NS", -(10**12))
    root = tree(tmp_path / "set", *classes("", images=5))
    archive = packed(root, ".zip")
    first = load(config(archive))
    Image.new("L", (4, 4), 77).save(root / "cat" / "0.png")
    before = archive.stat()
    packed(root, ".zip")
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = load(config(archive))
    assert second.fingerprint != first.fingerprint
    assert second.fingerprint == load(config(root)).fingerprint


def test_a_member_that_is_not_safe_stops_everything(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", *classes("", images=5))
    for name, what in (
        ("../outside.png", "'../outside.png' leads out of the archive"),
        ("more/train.zip", "'more/train.zip' is an archive itself"),
        ("more/train.7z", "'more/train.7z' is an archive itself"),
    ):
        archive = packed(root, ".zip")
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(name, "text")
        message = problems(archive)
        assert what in message
        assert str(archive) in message
        assert "fix: unpack" in message
        with pytest.raises(DataError):
            verify(config(archive))
        archive.unlink()


def test_what_an_archive_may_lack(tmp_path: Path) -> None:
    text = tree(tmp_path / "text", "a.txt")
    assert "the archive holds no images (1 other file)" in problems(packed(text, ".zip"))
    (text / "weights.pt").write_bytes(b"1")
    assert "pickles can run code and are not read" in problems(packed(text, ".tar"))
    (tmp_path / "fake.zip").write_text("text")
    assert "no zip or tar archive by its content" in problems(tmp_path / "fake.zip")
    assert "no such archive" in problems(tmp_path / "photo.zip")
    assert "did you mean 'fake.zip'?" in problems(tmp_path / "fakes.zip")
    (tmp_path / "only").mkdir()
    packed(text, ".zip").rename(tmp_path / "only" / "photos.zip")
    assert f'name the archive itself, "{tmp_path}/only/photos.zip"' in problems(tmp_path / "only")
    packed(text, ".tar").rename(tmp_path / "only" / "rest.tar")
    assert 'photos.zip", or the unpacked folder; or unpack all of them, in one folder' in problems(
        tmp_path / "only"
    )
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as file:
        file.write(tree(tmp_path / "one", "a.png") / "a.png", "a.png")
    assert "found no class folders" in problems(tmp_path / "flat.zip")


def test_a_run_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "set", *classes("train", images=8), *classes("test", images=4))
    packed(tmp_path / "set", ".tar.gz")
    monkeypatch.chdir(tmp_path)
    recipe = cs.load_recipe("digits", "data.source=set-packed.tar.gz", *TINY, "model.net=C4 / G F2")
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    record = json.loads((run / "data.json").read_text())
    assert record["layout"] == "an archive of class folders in train/ and test/"
    assert "layout: an archive of class folders in train/ and test/" in (run / "log.txt").read_text()
    for name in ("README.md", "report.html"):
        assert "an archive of class folders" in (run / name).read_text()
    check = json.loads((run / "results.json").read_text())["prediction_check"]
    assert (check["files"], check["missing"], check["agrees"]) == (4, 0, True)
    # Resumed from elsewhere, by the absolute path.
    monkeypatch.chdir("/")
    assert cs.resume(run, epochs=2).folder == run
