"""Read untrusted files: limits on size, depth and shape, no duplicate keys, nothing unpickled."""

import hashlib
import io
import json
import math
import re
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.errors import FileError
from convsmith.system import paths

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In bytes; far more than any file of convsmith's needs, and still cheap to read.
_MAX_TOML, _MAX_JSON, _MAX_HEADER = 2**20, 2**28, 10**8
_MAX_DEPTH, _MAX_HEADER_DEPTH = 100, 4
# `tomllib` takes minutes for keys of thousands of parts.
_LONG_DOTTED_KEY = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){50}""")
_MAX_BITS = 64
_MAX_ARRAYS, _MAX_UNPACKED = 1000, 2**33
# NumPy's kinds for booleans, integers, floats and bytes: the only ones that are written or read.
_ARRAY_KINDS = "biufS"


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Read a regular file.

    Raises:
        FileError: The file cannot be read, is not a regular file, or is larger than `limit` bytes.
    """
    try:
        # Reading a pipe would block.
        if paths.exists(path) and not paths.is_file(path) and not paths.is_folder(path):
            raise FileError("cannot read: not a regular file", where=str(path))
        if limit is not None and (size := path.stat().st_size) > limit:
            raise FileError(f"found {size:,} bytes, expected at most {limit:,}", where=str(path))
        return path.read_bytes()
    # ValueError: a name with a null character.
    except (OSError, ValueError) as error:
        raise paths.read_error(path, error) from error


def read_text(path: Path, limit: int | None = None) -> str:
    """Read UTF-8 text, with or without a byte order mark. Raises as `read_bytes`."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read TOML. Raises FileError with line and column for invalid TOML, duplicate keys included."""
    try:
        text = read_text(path, _MAX_TOML)
        return parse_toml(text)
    except ValueError as error:
        raise FileError(
            f"not valid TOML: {error}",
            where=str(path),
            fix="correct it: a table is [name], a value is key = value, a text stands in quotes",
        ) from error


def read_json(path: Path) -> Any:
    """Read JSON. Raises FileError for invalid JSON, deep nesting and duplicate keys."""
    try:
        return parse_json(read_text(path, _MAX_JSON))
    except ValueError as error:
        raise FileError(f"not valid JSON: {error}", where=str(path)) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is invalid or nested too deeply, has a duplicate key, or a number over 64 bits.
    """
    if _LONG_DOTTED_KEY.search(text):
        raise ValueError("a key of 50 parts or more")
    try:
        table = tomllib.loads(text)
        _check_numbers(table)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return table


def parse_json(text: str) -> Any:
    """Parse JSON by the standard, which has no NaN.

    Raises:
        ValueError: It is invalid or nested too deeply, has a duplicate key, or a number over 64 bits.
    """
    if (depth := json_depth(text)) > _MAX_DEPTH:
        raise ValueError(f"found {depth:,} levels of nesting, expected at most {_MAX_DEPTH}")
    value = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    _check_numbers(value, finite=True)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"found {name}, expected a number")


def _check_numbers(value: Any, *, finite: bool = False) -> None:
    """Raise ValueError for integers of more than 64 bits and, with `finite`, for floats such as 1e999."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_numbers(each, finite=finite)
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError(f"a number of {value.bit_length():,} bits, expected at most {_MAX_BITS}")
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number too large for 64 bits")


def json_depth(text: str) -> int:
    """Return the nesting depth of the brackets in a JSON text; those inside strings do not count.

    >>> json_depth('{"a": [1, "[[["]}')
    2
    """
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', text):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for a duplicate key."""
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
    return table


def read_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """Read a NumPy archive without unpickling.

    Raises:
        FileError: The file cannot be read, or is not such an archive.
    """
    import numpy as np

    content = io.BytesIO(read_bytes(path))
    try:
        _check_archive(content)
        with np.load(content, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        # For a damaged archive, zipfile, zlib, NumPy and its header parser raise nearly any exception.
        raise FileError(f"not a NumPy archive: {error}", where=str(path)) from error


def _check_archive(content: io.BytesIO) -> None:
    """Raise ValueError unless the headers of an archive match the sizes of its arrays."""
    import numpy as np

    with zipfile.ZipFile(content) as archive:
        members = archive.infolist()
        if len(members) > _MAX_ARRAYS or len({member.filename for member in members}) < len(members):
            raise ValueError(f"{len(members)} arrays, or duplicate names")
        if (size := sum(member.file_size for member in members)) > _MAX_UNPACKED:
            raise ValueError(f"found {size:,} bytes unpacked, expected at most {_MAX_UNPACKED:,}")
        for member in members:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape, _, dtype = read_header[version](file)
                rest = member.file_size - file.tell()
            if dtype.kind not in _ARRAY_KINDS:
                raise ValueError(f"{member.filename}: found {dtype}, expected real numbers or bytes")
            if math.prod(shape) * dtype.itemsize != rest:
                raise ValueError(f"{member.filename}: {rest:,} bytes for {dtype} of shape {shape}")
    content.seek(0)


def read_safetensors(path: Path) -> bytes:
    """Read a safetensors file and check its header.

    Raises:
        FileError: The file cannot be read.
        ValueError: The header is invalid; see `check_safetensors`.
    """
    content = read_bytes(path)
    check_safetensors(content)
    return content


def check_safetensors(content: bytes) -> None:
    """Check a safetensors header before it is parsed; the library itself checks offsets and dtypes.

    Raises:
        ValueError: The header is too long, is not JSON, is nested too deeply, or has a duplicate name.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _MAX_HEADER):
        raise ValueError(f"a header of {length:,} bytes in a file of {len(content):,}")
    header = content[8 : 8 + length].decode()
    if json_depth(header) > _MAX_HEADER_DEPTH:
        raise ValueError("the header is nested too deeply")
    json.loads(header, object_pairs_hook=unique_keys)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        FileError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise paths.read_error(path, error) from error
