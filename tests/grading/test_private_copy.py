"""A private copy holds the files of a submission and nothing that lies outside of it."""

import os
import socket
import sys
from pathlib import Path

import pytest

from convsmith.grading.private_copy import PrivateCopy, copy_submission


def copy(source: Path, target: Path, max_bytes: int = 10_000, max_files: int = 50) -> PrivateCopy:
    return copy_submission(source, target, max_bytes=max_bytes, max_files=max_files)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "ada"
    (folder / "models" / "deep").mkdir(parents=True)
    (folder / "model.py").write_text("class Net: ...", encoding="utf-8")
    (folder / "models" / "deep" / "weights.pth").write_bytes(bytes(100))
    return folder


def test_files_are_copied_with_their_folders(source: Path, tmp_path: Path) -> None:
    result = copy(source, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(source)
    assert (result.files, result.size, result.notes) == (2, 114, [])


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    assert copy(tmp_path / "ada", tmp_path / "copy").files == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
def test_links_and_special_files_are_left_out(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (source / "out").symlink_to(tmp_path / "secret")
    (source / "up").symlink_to("..")
    (source / "broken").symlink_to("nowhere")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(source)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        result = copy(source, tmp_path / "copy")
    assert set(tree(tmp_path / "copy")) == {"model.py", "models/deep/weights.pth"}
    assert sorted(result.notes) == [
        "not copied, a link: broken, out, up",
        "not copied, a pipe: pipe",
        "not copied, a socket: socket",
    ]


def test_large_and_many_files_are_left_out_after_sources(source: Path, tmp_path: Path) -> None:
    # Sparse: 10 GB for a reader, nothing on the disk.
    with (source / "a-data.tar").open("wb") as file:
        file.truncate(10 * 2**30)
    for number in range(60):
        (source / f"{number:02}.png").write_bytes(b"x")
    result = copy(source, tmp_path / "copy")
    assert {"model.py", "models/deep/weights.pth", "00.png"} < set(tree(tmp_path / "copy"))
    assert result.files == 50
    assert result.notes[0] == "not copied, more than 50 files: 48.png, 49.png, 50.png and 10 more"
    few = copy(source, tmp_path / "few", max_files=100)
    assert few.notes == ["not copied, more than 9.8 KiB together: a-data.tar"]


def test_what_a_student_did_not_write_is_left_out(source: Path, tmp_path: Path) -> None:
    for name in (".git", "__pycache__", "env"):
        (source / name).mkdir()
        (source / name / "file").write_text("x", encoding="utf-8")
    (source / "env" / "pyvenv.cfg").write_text("", encoding="utf-8")
    assert copy(source, tmp_path / "copy").files == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_odd_names(source: Path, tmp_path: Path) -> None:
    for name in ("new\nline.py", "übung.py", " ", "-rf", "a" * 255):
        (source / name).write_text("x", encoding="utf-8")
    result = copy(source, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(source)
    assert result.notes == []
    # A record is UTF-8.
    for number in (0xFE, 0xFF):
        (source / os.fsdecode(bytes([number]) + b".py")).write_text(f"{number}", encoding="utf-8")
    result = copy(source, tmp_path / "again")
    assert tree(tmp_path / "again")["_.py"] == b"254"
    assert result.notes == ["not copied, another file has its name: \\udcff.py"]


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="the superuser may read everything")
def test_unreadable_files(source: Path, tmp_path: Path) -> None:
    (source / "model.py").chmod(0)
    (source / "models").chmod(0)
    try:
        assert copy(source, tmp_path / "copy").notes == ["not copied, not readable: models, model.py"]
    finally:
        (source / "models").chmod(0o755)


def test_deep_folders(source: Path, tmp_path: Path) -> None:
    (source / Path(*["d"] * 60)).mkdir(parents=True)
    (source / Path(*["d"] * 60) / "deep.py").write_text("x", encoding="utf-8")
    assert "below 40 folders" in copy(source, tmp_path / "copy").notes[0]


def test_the_digest_changes_with_a_name_or_a_content(source: Path, tmp_path: Path) -> None:
    digests = [copy(source, tmp_path / "0").digest, copy(source, tmp_path / "1").digest]
    assert digests[0] == digests[1]
    (source / "model.py").rename(source / "net.py")
    digests.append(copy(source, tmp_path / "2").digest)
    (source / "net.py").write_text("class Net: pass", encoding="utf-8")
    digests.append(copy(source, tmp_path / "3").digest)
    assert len(set(digests)) == 3


def test_the_times_of_files_are_kept(source: Path, tmp_path: Path) -> None:
    os.utime(source / "model.py", ns=(5, 10**18 + 7))
    copy(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "model.py").stat().st_mtime_ns == 10**18 + 7


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_file_with_the_name_of_a_folder_is_left_out(source: Path, tmp_path: Path) -> None:
    (source / "a_").write_text("file", encoding="utf-8")
    folder = source / os.fsdecode(b"a\xe9")
    folder.mkdir()
    (folder / "long.py").write_text("content that is longer", encoding="utf-8")
    result = copy(source, tmp_path / "copy")
    assert result.files == 3
    assert len(result.notes) == 1
