"""The files of a net, to and from a folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.modules import sources
from convsmith.modules.sources import SourceFiles

FILES = {"nets/model.py": b"import torch\n", "utils.py": b"\xff\0", "nets/__init__.py": b""}


def test_files_are_written_and_read(tmp_path: Path) -> None:
    files = SourceFiles("nets/model.py", FILES)
    files.write(tmp_path / "source")
    (tmp_path / "source" / "__pycache__").mkdir()
    (tmp_path / "source" / "__pycache__" / "model.pyc").write_bytes(b"x")
    read = SourceFiles.read(tmp_path / "source", "nets/model.py")
    assert read == files
    assert read.sha256 == files.sha256
    assert {path.name for path in (tmp_path / "source").rglob("*.py")} == {
        "model.py",
        "utils.py",
        "__init__.py",
    }


def test_the_hash_covers_names_and_contents() -> None:
    """Computed a second way; no two sets of files share the text that is hashed."""
    text = b"".join(
        len(part).to_bytes(8, "big") + part for name in sorted(FILES) for part in (name.encode(), FILES[name])
    )
    assert SourceFiles("utils.py", FILES).sha256 == hashlib.sha256(text).hexdigest()
    changes: list[Mapping[str, bytes]] = [
        {**FILES, "utils.py": b"\xff\0\n"},
        {**FILES, "utils.pyx": b""},
        {"utils.py": b"nets"},
        {"utils.pyn": b"ets", "utils.py": b""},
    ]
    assert len({SourceFiles("utils.py", {"utils.py": b"", **each}).sha256 for each in (FILES, *changes)}) == 5


@pytest.mark.parametrize(
    "name", ["../model.py", "/etc/model.py", "a/../../model.py", "a//b.py", "", "C:/model.py", "a\\..\\b.py"]
)
def test_names_stay_inside(name: str) -> None:
    with pytest.raises(FileError, match="outside of the folder"):
        SourceFiles(name, {name: b""})


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match="the file that holds the net is missing"):
        SourceFiles("model.py", {"utils.py": b""})
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    with pytest.raises(FileError, match="found 3 source files of 15 bytes"):
        SourceFiles("utils.py", FILES)
    for number in range(3):
        (tmp_path / f"{number}.py").touch()
    with pytest.raises(FileError, match="found more than 2 source files"):
        SourceFiles.read(tmp_path, "0.py")
    monkeypatch.setattr(sources, "MAX_FILE", 3)
    (tmp_path / "2.py").unlink()
    (tmp_path / "0.py").write_bytes(b"12345")
    with pytest.raises(FileError, match="found 5 bytes, expected at most 3"):
        SourceFiles.read(tmp_path, "0.py")


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.py").touch()
    folder = tmp_path / "source"
    folder.mkdir()
    try:
        (folder / "model.py").symlink_to(tmp_path / "outside.py")
    except OSError:
        pytest.skip("links need a permission here")
    with pytest.raises(FileError, match="found a link, expected a file"):
        SourceFiles.read(folder, "model.py")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("a file")
    with pytest.raises(FileError, match="cannot write"):
        SourceFiles("model.py", {"model.py": b""}).write(tmp_path / "source")
