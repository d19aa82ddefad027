"""Reading and writing at positions, with the functions of POSIX and, as on Windows, without."""

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from convsmith.data.dataset import load
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.system.positional import OpenFile, open_file, read_at, write_at
from helpers.sources import classes, config, tree


@pytest.fixture(params=["posix", "windows"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "windows":
        monkeypatch.delattr(os, "pread", raising=False)
        monkeypatch.delattr(os, "pwrite", raising=False)
    return str(request.param)


@pytest.mark.usefixtures("system")
def test_threads_read_and_write_one_file(tmp_path: Path) -> None:
    file = open_file(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    parts = [bytes([number]) * 5000 for number in range(40)]
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: write_at(file, parts[number], 5000 * number), reversed(range(40))))
            assert list(pool.map(lambda number: read_at(file, 5000, 5000 * number), range(40))) == parts
        assert read_at(file, 100, 5000 * 40 - 7) == parts[-1][:7]
        assert read_at(file, 100, 5000 * 41) == read_at(file, 0, 0) == b""
    finally:
        os.close(file)
    assert (tmp_path / "a").read_bytes() == b"".join(parts)


def test_all_is_written_and_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda file, size, at: pread(file, min(size, 3), at))
    monkeypatch.setattr(os, "pwrite", lambda file, content, at: pwrite(file, content[:3], at))
    file = open_file(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    try:
        write_at(file, b"0123456789", 2)
        assert read_at(file, 20, 2) == b"0123456789"
        monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            write_at(file, b"1", 0)
    finally:
        os.close(file)


@pytest.mark.usefixtures("system")
def test_sections_have_positions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    file = OpenFile(open_file(tmp_path / "a", os.O_RDONLY))
    number = file.number
    with file.section(10, 50) as one, file.section(40, 60) as other, file.section(90, 20) as long:
        del file
        assert (one.read(2), other.read(2), one.read(2)) == (
            bytes([10, 11]),
            bytes([40, 41]),
            bytes([12, 13]),
        )
        assert one.seek(-3, io.SEEK_END) == 47
        assert one.read() == bytes([57, 58, 59])
        assert one.read(1) == b""
        assert one.seek(5) == one.tell() == 5
        assert one.seek(1000) == 1000
        assert one.read() == b""
        with pytest.raises(ValueError, match="position"):
            one.seek(-1)
        one.close()
        assert other.read() == bytes(range(42, 100))
        with pytest.raises(OSError, match="was cut"):
            long.read()
        del one, other, long
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_data_sets_and_images_on_disk_are_the_same_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "set", *classes("", images=5))
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "posix"))
    expected = load(config(tmp_path / "set"))
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "windows"))
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "pwrite")
    data = load(config(tmp_path / "set", keep_in="disk"))
    assert isinstance(data.train.images, DiskImages)
    assert data.fingerprint == expected.fingerprint
    assert np.array_equal(np.asarray(data.train.images), np.asarray(expected.train.images))
