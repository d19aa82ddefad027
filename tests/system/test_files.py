"""Atomic writes."""

import itertools
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import files, paths, reading
from helpers.killed import killed_before


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


@pytest.mark.parametrize("old", [("one", "two"), ("one",), ("two",)])
def test_a_kill_never_leaves_new_files_beside_old_ones(old: tuple[str, ...], tmp_path: Path) -> None:
    contents = {tmp_path / "one": b"new", tmp_path / "two": b"new"}
    found = set()
    for call in itertools.count(1):
        for path in tmp_path.iterdir():
            path.unlink()
        for name in old:
            (tmp_path / name).write_text("old")
        killed = killed_before(call, lambda: files.write_files(contents, replace=True))
        left = {path.name: path.read_text() for path in contents if path.exists()}
        assert len(set(left.values())) <= 1
        found.add(tuple(left.items()))
        if not killed:
            break
    assert {tuple((name, "old") for name in old), (("one", "new"), ("two", "new"))} <= found


def test_a_full_disk_costs_none_of_several_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {tmp_path / "one": b"new", tmp_path / "two": b"new"}
    for path in contents:
        path.write_text("old")
    calls = itertools.count(1)

    def full_at_the_second(number: int) -> None:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(FileError, match="No space left on device"):
        files.write_files(contents, replace=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old", "two": "old"}


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


def received(pipe: Path, write: Callable[[], object]) -> bytes:
    """Return what a function writes into a pipe."""
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write()
    reader.join(timeout=60)
    return parts[0]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        assert received(pipe, lambda: files.write_bytes(path, b"x" * 200_000)) == b"x" * 200_000  # noqa: B023
        assert received(pipe, lambda: files.write_files({path: b"file"})) == b"file"  # noqa: B023

        def rows() -> None:
            with files.atomic_text(path) as append:  # noqa: B023
                append("a\n")
                append("b\n")

        assert received(pipe, rows) == b"a\nb\n"
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_a_terminal_and_a_device_are_written_to(tmp_path: Path) -> None:
    master, slave = os.openpty()
    files.write_bytes(Path(os.ttyname(slave)), b"shown")
    assert os.read(master, 100) == b"shown"
    os.close(slave)
    os.close(master)
    if os.geteuid() == 0:
        device = tmp_path / "null"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        files.write_bytes(device, b"gone")
        files.write_files({device: b"gone"})
        assert device.is_char_device()
        disk = tmp_path / "disk"
        # No driver has this number.
        os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(240, 99))
        with pytest.raises(FileError, match="a disk, expected a file"):
            files.write_bytes(disk, b"x")
        assert disk.is_block_device()
        assert sorted(tmp_path.iterdir()) == [disk, device]


@pytest.mark.parametrize("place", ["absolute", "relative", "dangling", "chain"])
def test_a_link_is_followed(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target, link = tmp_path / "deep" / "target", tmp_path / "link"
    target.parent.mkdir()
    if place != "dangling":
        target.write_text("old")
    if place == "chain":
        (tmp_path / "between").symlink_to("deep/target")
    link.symlink_to({"absolute": str(target), "chain": "between"}.get(place, "deep/target"))
    files.write_text(Path("link"), "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    with files.atomic_text(link) as append:
        append("rows\n")
    assert target.read_text() == "rows\n"
    assert link.is_symlink()
    assert list(target.parent.iterdir()) == [target]


def test_an_open_file_keeps_its_content_and_position(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"first ")
        files.write_bytes(Path(f"/dev/fd/{file.fileno()}"), b"second ")
        file.write(b"third")
    assert (tmp_path / "out").read_bytes() == b"first second third"


def test_folders_and_loops_are_refused_before_a_line_is_written(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name, reason in (
        ("folder", "Is a directory"),
        ("link", "Is a directory"),
        ("loop", "symbolic links"),
    ):
        for write in (files.write_text, lambda path, text: files.atomic_text(path).__enter__()(text)):
            with pytest.raises(FileError, match=f"cannot write: .*{reason}"):
                write(tmp_path / name, "x")
    with pytest.raises(FileError, match="cannot write"):
        files.write_text(tmp_path / "a\0b", "x")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("length", [1, 240, 255])
def test_the_longest_name_can_be_written(length: int, tmp_path: Path) -> None:
    path = tmp_path / ("x" * length)
    files.write_text(path, "x")
    assert path.read_text() == "x"
    with pytest.raises(FileError, match="File name too long"):
        files.write_text(tmp_path / ("x" * 256), "x")


def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "private.txt"
    path.write_text("old")
    path.chmod(0o600)
    files.write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fixed.txt"
    path.write_text("old")
    path.chmod(0o444)
    (tmp_path / "link").symlink_to(path)
    # The superuser may write to every file.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).stat().st_mode & mode << 6 == mode << 6)
    for name in ("fixed.txt", "link"):
        with pytest.raises(FileError, match="cannot write: Permission denied"):
            files.write_text(tmp_path / name, "new")
        with pytest.raises(FileError, match="cannot write: Permission denied"):
            paths.check_outputs([tmp_path / name])
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fixed.txt", "link"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []
