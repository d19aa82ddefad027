"""Members of archives as files that are read at any place."""

import io
import os
from pathlib import Path, PurePosixPath

import pytest

from convsmith.system import archives, member_files
from convsmith.system.archives import ArchiveError, open_archive
from convsmith.system.member_files import MemberFiles
from helpers.packed import FORMATS, packed

CONTENT = {"a.bin": os.urandom(5000), "b/c.bin": b"x" * 5000, "empty": b""}


@pytest.fixture(params=list(FORMATS))
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set" / "b").mkdir(parents=True)
    for name, content in CONTENT.items():
        (tmp_path / "set" / name).write_bytes(content)
    return packed(tmp_path / "set", request.param)


@pytest.mark.parametrize("small", [0, 2**24])
def test_members_are_read_at_any_place(archive: Path, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_files, "_SMALL", small)
    files = MemberFiles(open_archive(archive))
    for name, content in reversed(CONTENT.items()):
        with files.open(PurePosixPath(name)) as one, files.open(PurePosixPath(name)) as other:
            assert one.read(7) == content[:7]
            one.seek(-9, io.SEEK_END) if content else None
            assert one.read() == content[-9:]
            assert other.read() == content
            other.seek(1)
            assert other.read(2) == content[1:3]
        with files.open(PurePosixPath(name)) as again:
            assert again.read() == content


def test_a_compressed_tar_archive_is_read_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = open_archive(archive)
    opened = []
    new = archives._Stream.__init__

    def count(self: archives._Stream, *arguments: object, **options: object) -> None:
        opened.append(arguments)
        new(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(archives._Stream, "__init__", count)
    files = MemberFiles(listed)
    files.prepare([PurePosixPath(name) for name in reversed(CONTENT)])
    for name, content in CONTENT.items():
        assert files.open(PurePosixPath(name)).read() == content
    assert len(opened) <= 1


def test_an_archive_that_is_cut_later(archive: Path) -> None:
    files = MemberFiles(open_archive(archive))
    with archive.open("r+b") as file:
        file.truncate(200)
    with pytest.raises((ArchiveError, OSError, EOFError)):
        files.open(PurePosixPath("a.bin")).read()
