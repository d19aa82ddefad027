"""Archives of untrusted origin: every member is checked before anything is read."""

import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from convsmith.system import archives
from convsmith.system.archives import ArchiveError, is_archive_name, open_archive

FILES = {
    "cat/a.png": b"first" * 99,
    "cat/b c.png": b"",
    "Dog/\u00e9.png": os.urandom(3000),
    "labels.csv": b"x,y",
}
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    mode = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(path.suffix[1:], "")
    with tarfile.open(path, f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write(path: Path, files: dict[str, bytes]) -> Path:
    return write_zip(path, files) if path.suffix == ".zip" else write_tar(path, files)


def refused(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        open_archive(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".zip", *TAR_SUFFIXES])
def test_contents_are_those_that_were_packed(suffix: str, tmp_path: Path) -> None:
    archive = open_archive(write(tmp_path / f"set{suffix}", FILES))
    assert {str(path): member.size for path, member in archive.members.items()} == {
        name: len(content) for name, content in FILES.items()
    }
    # Backwards too: a compressed stream begins again.
    for names in (list(FILES), list(reversed(FILES))):
        read = archive.contents([PurePosixPath(name) for name in names], 10_000)
        assert list(read) == [FILES[name] for name in names]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_compression(method: int, tmp_path: Path) -> None:
    archive = open_archive(write_zip(tmp_path / "a.zip", FILES, method))
    assert list(archive.contents(list(archive.members), 10_000)) == list(FILES.values())


def test_a_file_above_the_limit_is_an_error_of_its_own(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tgz"):
        archive = open_archive(write(tmp_path / name, FILES))
        read = list(archive.contents(list(archive.members), 500))
        assert [isinstance(each, bytes) for each in read] == [True, True, False, True]
        assert "3,000 bytes, expected at most 500" in str(read[2])


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "..\\x.png", "a\\..\\..\\x"]
)
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_paths_that_lead_out_are_refused(name: str, suffix: str, tmp_path: Path) -> None:
    message = refused(write(tmp_path / f"a{suffix}", {"a.png": b"1", name: b"2"}))
    assert repr(name) in message
    assert "leads out of the archive" in message


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_long_deep_and_contradicting_names(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    assert "too long or too deep" in refused(write(path, {"a/" * 80 + "b": b"1"}))
    assert "too long or too deep" in refused(write(path, {"a" * 5000: b"1"}))
    assert "'a' is both a file and a folder" in refused(write(path, {"a": b"1", "a/b": b"2"}))
    archive = open_archive(write(path, {"./a//b.png": b"1", "c\\d.png": b"2"}))
    assert list(map(str, archive.members)) == ["a/b.png", "c/d.png"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.png", "a.png"), ("a/b.png", "./a/b.png"), ("a/b.png", "a\\b.png")])
def test_two_members_of_one_name_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"1")
    assert "two members of the name" in refused(tmp_path / "a.zip")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    assert "two members of the name" in refused(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.FIFOTYPE, "is a device or a pipe"),
        (tarfile.CHRTYPE, "is a device or a pipe"),
        (tarfile.BLKTYPE, "is a device or a pipe"),
        (b"Z", "is of an unknown type"),
    ],
)
def test_links_and_devices_are_refused(kind: bytes, what: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("before.png"))
        member = tarfile.TarInfo("odd.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert f"the member 'odd.png' {what}" in refused(tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    ("mode", "what"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a device"), (stat.S_IFBLK, "is a device")],
)
def test_links_and_devices_in_zip_are_refused(mode: int, what: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("odd.png")
        member.external_attr = (mode | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    assert f"the member 'odd.png' {what}" in refused(tmp_path / "a.zip")


def changed(path: Path, change: Callable[[bytearray], object]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def test_encrypted_members_and_unknown_methods_are_refused(tmp_path: Path) -> None:
    def encrypt(content: bytearray) -> None:
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1

    def method(content: bytearray) -> None:
        struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 10, 9)

    for change, what in ((encrypt, "is encrypted"), (method, "compressed by the method 9")):
        path = changed(write_zip(tmp_path / "a.zip", {"secret.png": b"1" * 50}), change)
        message = refused(path)
        assert "'secret.png'" in message
        assert what in message


def test_what_grows_beyond_the_ratio_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 10**6)
    files = {"small.png": b"1", "huge.png": bytes(3 * 10**6)}
    message = refused(write_zip(tmp_path / "a.zip", files))
    assert "3,000,001, expected at most 200 times as many; the largest member is 'huge.png'" in message
    for suffix in (".tar.gz", ".tar.bz2", ".tar.xz"):
        assert "bytes become more than" in refused(write_tar(tmp_path / f"a{suffix}", files))
    # Nothing grows in a plain one.
    assert len(open_archive(write_tar(tmp_path / "a.tar", files)).members) == 2


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{index}.png": os.urandom(5000) for index in range(3)})
    content = bytearray(path.read_bytes())
    directory = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    for at in directory:
        struct.pack_into("<I", content, at + 20, len(content) // 2)
    path.write_bytes(content)
    assert "members overlap" in refused(path)


def test_numbers_of_members_and_sizes_of_headers_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    for suffix in (".zip", ".tar"):
        message = refused(write(tmp_path / f"a{suffix}", FILES))
        assert "more than 3 members, the last is 'labels.csv'" in message
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 50)
    assert "a directory of" in refused(write_zip(tmp_path / "b.zip", FILES))
    monkeypatch.setattr(archives, "_MAX_HEADER", 2000)
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"comment": "x" * 5000}
        archive.addfile(member)
    assert "a header of 5," in refused(tmp_path / "b.tar.gz")


@pytest.mark.parametrize("suffix", [".zip", *TAR_SUFFIXES])
def test_truncated_archives_are_damaged(suffix: str, tmp_path: Path) -> None:
    files = {f"{index}.png": os.urandom(2000) for index in range(9)}
    path = write(tmp_path / f"a{suffix}", files)
    content = path.read_bytes()
    # The last one ends between two members of a plain tar archive.
    for length in (len(content) // 5, len(content) // 2, 2 * 2560):
        path.write_bytes(content[:length])
        message = refused(path)
        assert "damaged" in message or "ends within" in message


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{index}.png": b"x" * 512 for index in range(5)})
    # The header of the third member.
    message = refused(changed(path, lambda content: content.__setitem__(slice(2048, 2060), b"?" * 12)))
    assert "damaged after the member '1.png'" in message or "a header is invalid" in message


def test_damage_within_a_member_concerns_only_it(tmp_path: Path) -> None:
    files = {f"{index}.png": os.urandom(2000) for index in range(3)}
    path = write_zip(tmp_path / "a.zip", files)
    changed(path, lambda content: content.__setitem__(slice(2500, 2600), bytes(100)))
    archive = open_archive(path)
    first, second, third = archive.contents(list(archive.members), 10_000)
    assert (first, third) == (files["0.png"], files["2.png"])
    assert isinstance(second, ArchiveError)
    assert "damaged" in str(second)


def test_what_is_no_archive(tmp_path: Path) -> None:
    for content in (b"", b"text", b"\x89PNG" + bytes(600)):
        (tmp_path / "a.zip").write_bytes(content)
        assert "no zip or tar archive by its content" in refused(tmp_path / "a.zip")
    (tmp_path / "a.tgz").write_bytes(b"\x1f\x8b" + bytes(600))
    assert "damaged" in refused(tmp_path / "a.tgz")
    assert not is_archive_name("a.rar")


def test_an_archive_that_changed_is_listed_again(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": b"1"})
    assert open_archive(path) is open_archive(path)
    write_zip(path, {"a": b"1", "b": b"2"})
    assert len(open_archive(path).members) == 2
