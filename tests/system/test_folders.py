"""Numbered, atomic and temporary folders."""

import itertools
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import files, folders
from helpers.fast import few_fast
from helpers.killed import killed_before


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


def filled(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a").write_text(text)
    return folder


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("name", ["target", "x" * 200])
def test_a_folder_is_replaced(
    name: str, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    target = filled(tmp_path / name, "old")
    (tmp_path / "link").symlink_to(name)
    for place in (target, tmp_path / "link"):
        with pytest.raises(ValueError, match="halfway"), folders.atomic_folder(place, replace=True) as new:  # noqa: PT012
            filled(new, "halfway")
            raise ValueError("halfway")
        with folders.atomic_folder(place, replace=True) as new:
            filled(new, f"new {place}")
        assert (target / "a").read_text() == f"new {place}"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["link", name])
        assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need two steps")
def test_linux_exchanges_folders_in_one_step(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one", "1"), filled(tmp_path / "other", "2")
    assert folders._exchange(one, other)
    assert [(path / "a").read_text() for path in (one, other)] == ["2", "1"]
    with pytest.raises(FileNotFoundError):
        folders._exchange(one, tmp_path / "absent")


@pytest.mark.parametrize("exchanges", few_fast([True, False], 1))
def test_a_kill_at_any_call_leaves_the_old_folder_or_the_new_one(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    target = tmp_path / "target"

    def replace() -> None:
        with folders.atomic_folder(target, replace=True) as new:
            for name in ("a", "b"):
                files.write_text(new / name, "new")

    found = set()
    for call in itertools.count(1):
        folders.restore(target)
        shutil.rmtree(target, ignore_errors=True)
        for name in ("a", "b"):
            filled(target, "old").joinpath(name).write_text("old")
        ended = killed_before(call, replace)
        folders.restore(target)
        texts = {path.read_text() for path in (target / "a", target / "b")}
        assert texts in ({"old"}, {"new"}), call
        found |= texts
        if not ended:
            break
    assert found == {"old", "new"}
    assert call > 15
    # The next start removes what the killed ones left.
    replace()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def _without_home(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """As for a process without HOME whose user has no name."""

    def no_home(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("convsmith.system.folders.platformdirs.user_cache_path", no_home)
    monkeypatch.setattr("convsmith.system.folders.tempfile.gettempdir", lambda: str(temporary))


def test_the_cache_of_a_user_without_a_home_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_home(monkeypatch, tmp_path)
    folder = folders.user_cache_folder("convsmith")
    assert folder == folders.user_cache_folder("convsmith") == tmp_path / f"convsmith-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["link", "writable"])
def test_a_folder_of_another_user_is_no_cache(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_home(monkeypatch, tmp_path)
    folder = tmp_path / f"convsmith-{os.getuid()}"
    if trap == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(FileError, match="set HOME or CONVSMITH_CACHE"):
        folders.user_cache_folder("convsmith")


def test_a_home_that_does_not_exist_stays_in_the_path() -> None:
    assert folders.expand_user("~no-such-user/a") == Path("~no-such-user/a")
    assert folders.expand_user("~/a") == Path.home() / "a"


def test_a_wrong_name_means_a_recipe_or_run_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders.nearby("mine-1") == []
    (tmp_path / "runs" / "mine-1").mkdir(parents=True)
    (tmp_path / "mine.toml").write_text("")
    run = str(Path("runs") / "mine-1")
    assert folders.nearby("mine-1") == [run]
    assert folders.nearby("mine") == folders.nearby("mine.tom") == ["mine.toml"]
    assert folders.nearby("cifar10-best") == []


def test_the_nearest_name_is_suggested_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of the working directory, as the first training leaves one, hides no name of the library."""
    monkeypatch.chdir(tmp_path)
    run = Path("runs/digits-1")
    run.mkdir(parents=True)
    library = ["cifar10-sprint", "digits"]
    assert folders.suggest_name("digit", library) == "did you mean 'digits'?"
    assert folders.suggest_name("digits-2", library) == f"did you mean {str(run)!r}?"
    assert folders.suggest_name("digits-1", library) == f"did you mean {str(run)!r}?"
    assert folders.suggest_name("resnet", library) == "choose from 'cifar10-sprint', 'digits'"
