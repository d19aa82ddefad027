"""Writing whole files or nothing, and reading with errors that say where."""

import os
import time
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import files


def test_round_trips(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "Größe\n")
    assert files.read_text(tmp_path / "a.txt") == "Größe\n"
    files.write_json(tmp_path / "a.json", {"ü": [1, None, 2.5]})
    assert files.read_json(tmp_path / "a.json") == {"ü": [1, None, 2.5]}
    files.write_toml(tmp_path / "a.toml", {"a": {"b": [1, 2]}})
    assert files.read_toml(tmp_path / "a.toml") == {"a": {"b": [1, 2]}}


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


def test_folders_are_numbered_upwards(tmp_path: Path) -> None:
    (tmp_path / "a-9").mkdir()
    (tmp_path / "a-x").mkdir()
    (tmp_path / "ab-99").mkdir()
    assert files.new_numbered_folder(tmp_path, "a").name == "a-10"
    assert files.new_numbered_folder(tmp_path, "a").name == "a-11"
    assert files.new_numbered_folder(tmp_path / "new" / "deep", "a").name == "a-1"


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with pytest.raises(ValueError, match="halfway"), files.whole_folder(target) as folder:  # noqa: PT012
        (folder / "a").write_text("1")
        raise ValueError("halfway")
    assert list(target.parent.iterdir()) == []
    with files.whole_folder(target) as folder:
        (folder / "a").write_text("1")
    with files.whole_folder(target) as folder:
        (folder / "a").write_text("2")
    assert (target / "a").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def test_scratch_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead, young = tmp_path / ".scratch-dead", tmp_path / ".scratch-young"
    mine = tmp_path / "mine"
    for folder in (dead, young, mine):
        folder.mkdir()
        (folder / "a").write_text("1")
    long_ago = time.time() - 3600
    os.utime(dead, (long_ago, long_ago))
    with files.scratch_folder(tmp_path, prefix="x") as alive:
        assert not dead.exists()
        os.utime(alive, (long_ago, long_ago))
        # That of a process that lives is left alone, however old it is.
        with files.scratch_folder(tmp_path, prefix="y"):
            assert alive.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {".scratch-young", "mine"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a = 1\na = 2\n", "not valid TOML"),
        (b"a = \n", "not valid TOML"),
        (b"a = '\xff'", "not UTF-8 text"),
    ],
)
def test_what_is_no_toml_is_said_to_be_none(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        files.read_toml(path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert files.read_toml(tmp_path / "a.toml") == {"a": 1}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"No such file"):
        files.read_json(tmp_path / "a.json")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, the example of one block.
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_several_new_files_or_none(tmp_path: Path) -> None:
    contents = {tmp_path / "a" / "one": b"1", tmp_path / "two": b"2"}
    files.write_new(contents)
    assert [path.read_bytes() for path in contents] == [b"1", b"2"]
    # Once more is no change.
    files.write_new(contents)
    changed = {tmp_path / "three": b"3", tmp_path / "two": b"other"}
    with pytest.raises(FileError, match="another file is there already") as caught:
        files.write_new(changed)
    assert caught.value.problems[0].where == str(tmp_path / "two")
    assert not (tmp_path / "three").exists()
    files.write_new(changed, replace=True)
    assert (tmp_path / "two").read_bytes() == b"other"
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError):
        files.write_new({tmp_path / "folder": b""}, replace=True)
