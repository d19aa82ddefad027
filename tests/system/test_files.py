"""Atomic writes."""

import os
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import files, reading


def test_round_trips(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "Größe\n")
    assert reading.read_text(tmp_path / "a.txt") == "Größe\n"
    files.write_json(tmp_path / "a.json", {"ü": [1, None, 2.5]})
    assert reading.read_json(tmp_path / "a.json") == {"ü": [1, None, 2.5]}
    files.write_toml(tmp_path / "a.toml", {"a": {"b": [1, 2]}})
    assert reading.read_toml(tmp_path / "a.toml") == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileError) as caught:
        files.write_text(path, "new")
    assert "No space left on device" in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_new_files_or_none(tmp_path: Path) -> None:
    contents = {tmp_path / "a" / "one": b"1", tmp_path / "two": b"2"}
    files.write_files(contents)
    assert [path.read_bytes() for path in contents] == [b"1", b"2"]
    # Once more is no change.
    files.write_files(contents)
    changed = {tmp_path / "three": b"3", tmp_path / "two": b"other"}
    with pytest.raises(FileError, match="another file exists already") as caught:
        files.write_files(changed)
    assert caught.value.problems[0].where == str(tmp_path / "two")
    assert not (tmp_path / "three").exists()
    files.write_files(changed, replace=True)
    assert (tmp_path / "two").read_bytes() == b"other"
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError):
        files.write_files({tmp_path / "folder": b""}, replace=True)
