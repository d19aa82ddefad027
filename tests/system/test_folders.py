"""Numbered, atomic and temporary folders."""

import os
import time
from pathlib import Path

import pytest

from convsmith.system import folders


def test_folders_are_numbered_upwards(tmp_path: Path) -> None:
    (tmp_path / "a-9").mkdir()
    (tmp_path / "a-x").mkdir()
    (tmp_path / "ab-99").mkdir()
    assert folders.new_numbered_folder(tmp_path, "a").name == "a-10"
    assert folders.new_numbered_folder(tmp_path, "a").name == "a-11"
    assert folders.new_numbered_folder(tmp_path / "new" / "deep", "a").name == "a-1"


def test_a_folder_is_complete_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with pytest.raises(ValueError, match="halfway"), folders.atomic_folder(target) as folder:  # noqa: PT012
        (folder / "a").write_text("1")
        raise ValueError("halfway")
    assert list(target.parent.iterdir()) == []
    with folders.atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with folders.atomic_folder(target) as folder:
        (folder / "a").write_text("2")
    assert (target / "a").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def test_scratch_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead, mine = tmp_path / ".scratch-dead", tmp_path / "mine"
    for folder in (dead, mine):
        folder.mkdir()
        (folder / "a").write_text("1")
    (tmp_path / ".scratch-dead.lock").touch()
    long_ago = time.time() - 3600
    with folders.scratch_folder(tmp_path, name="x") as alive:
        assert not dead.exists()
        os.utime(alive, (long_ago, long_ago))
        # The folder of a live process stays, however old it is.
        with folders.scratch_folder(tmp_path, name="y"):
            assert alive.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}
