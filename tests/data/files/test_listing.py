"""Listing a folder: links, hidden files, and folders that cannot be read."""

import os
from pathlib import Path
from unittest import mock

import pytest

from convsmith.data.files.listing import list_files, list_folder, walk
from convsmith.errors import DataError
from convsmith.models.image_inputs import image_sources
from helpers.sources import classes, read_image_folder, tree


def find_images(folder: Path) -> list[str]:
    return [item.name for item in image_sources(folder)]


def test_links_are_followed_alike_in_training_and_prediction(tmp_path: Path) -> None:
    elsewhere = tree(tmp_path / "elsewhere", "a.png", "deep/b.png")
    root = tree(tmp_path / "root", *classes(""))
    (root / "cat" / "more").symlink_to(elsewhere)
    (root / "bird").symlink_to(elsewhere)
    raw = read_image_folder(root)
    assert raw.class_names == ("bird", "cat", "dog")
    read = sorted(str(root / place) for place in raw.splits["train"].locations)
    assert read == find_images(root)
    assert len(read) == 8


@pytest.mark.parametrize("target", [".", "cat", "..", "/"])
def test_links_in_circles_are_left_out_and_counted(target: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "root", *classes(""))
    (root / "cat" / "loop").symlink_to(root / target)
    raw = read_image_folder(root)
    assert raw.layout().left_out == {"a link to a folder that it is in": 1}
    assert len(find_images(root)) == 4


def test_a_walk_is_sorted_and_lists_one_folder_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        "a/2.png",
        "a/10.png",
        "a.b/1.png",
        "a/deep/er/1.png",
        "b.png",
        "B.png",
        ".hidden/1.png",
        "c/Thumbs.db",
    ]
    tree(tmp_path, *names)
    files = [entry.path for entry in walk(tmp_path) if not entry.is_folder and not entry.reason]
    assert files == sorted(tmp_path / name for name in names[:6])
    assert files == list(list_folder(tmp_path).files)
    reasons = {entry.path.name: entry.reason for entry in walk(tmp_path) if entry.reason}
    assert reasons == {".hidden": "hidden", "Thumbs.db": "metadata of the system"}
    scans = mock.Mock(wraps=os.scandir)
    monkeypatch.setattr("convsmith.data.files.listing.os.scandir", scans)
    assert next(entry.path.name for entry in walk(tmp_path)) == ".hidden"
    assert scans.call_count == 1


def test_links_to_each_other_end(tmp_path: Path) -> None:
    root = tree(tmp_path, *classes(""))
    (root / "cat" / "dogs").symlink_to(root / "dog")
    (root / "dog" / "cats").symlink_to(root / "cat")
    assert len(list_files(root)) == 8


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, *classes(""))

    def access(path: str, mode: int) -> bool:
        del mode
        return not str(path).endswith("dog")

    monkeypatch.setattr("convsmith.data.files.listing.os.access", access)
    for read in (list_folder, read_image_folder):
        with pytest.raises(DataError, match="cannot be listed") as caught:
            read(root)
        assert str(root / "dog") in str(caught.value)
