"""Reading untrusted files."""

from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.system import reading


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a = 1\na = 2\n", "not valid TOML"),
        (b"a = \n", "not valid TOML"),
        (b"a = '\xff'", "not UTF-8 text"),
    ],
)
def test_invalid_toml(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        reading.read_toml(path)
    assert what in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert reading.read_toml(tmp_path / "a.toml") == {"a": 1}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"No such file"):
        reading.read_json(tmp_path / "a.json")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, the example of one block.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert reading.sha256(tmp_path / "a") == digest
