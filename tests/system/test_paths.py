"""Questions to the file system: names that cannot exist, missing permissions, equal files."""

import os
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import paths

IMPOSSIBLE = ("x" * 256, "a\0b", "/".join(["C8" * 200] * 3), "\udce9\ud800", "x" * 10_000, "ü" * 200)


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=lambda name: ascii(name)[:20])
def test_a_name_that_cannot_exist_is_absent(name: str, tmp_path: Path) -> None:
    for path in (Path(name), tmp_path / name, tmp_path / name / "below"):
        assert paths.status(path) is None
        assert not any(asked(path) for asked in (paths.exists, paths.is_file, paths.is_folder))


def test_loops_of_links_and_paths_below_files_are_absent(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for path in (tmp_path / "loop", tmp_path / "file" / "below", tmp_path / "loop" / "below"):
        assert not paths.exists(path)
    assert paths.is_file(tmp_path / "file")
    assert paths.is_folder(tmp_path)
    with pytest.raises(FileError, match="cannot read"):
        paths.children(tmp_path / "file")


def test_missing_permissions_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(FileError, match="cannot read: Permission denied") as caught:
        paths.is_file(Path("secret"))
    assert caught.value.problems[0].where == "secret"


def test_devices_pipes_and_open_files_flow(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "file").open("w") as file:
        number = file.fileno()
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{number}")
        flowing = (tmp_path / "pipe", Path(f"/dev/fd/{number}"), tmp_path / "link", Path("/dev/stdout"))
        assert [paths.is_stream(path) for path in flowing] == [True] * 4
        assert paths.descriptor(Path(f"/dev/fd/{number}")) == number
    still = (tmp_path / "file", tmp_path, tmp_path / "absent", tmp_path / "12")
    assert not any(map(paths.is_stream, still))


def test_equal_outputs_and_inputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = Path("one"), Path("other")
    one.write_text("1")
    Path("link").symlink_to("one")
    Path("hard").hardlink_to("one")
    os.mkfifo("pipe")
    for outputs in ([one, one], [one, Path("link")], [one, Path("hard")], [Path("new"), tmp_path / "./new"]):
        with pytest.raises(FileError, match="both would be written to one file"):
            paths.check_outputs(outputs)
    for source in ("one", "link", "hard", str(tmp_path / "one")):
        with pytest.raises(FileError, match="the command reads this file"):
            paths.check_outputs([one, other], [Path("x" * 300), Path(source)])
    paths.check_outputs([one, other, Path("pipe"), Path("pipe")], [other, Path("absent")])
