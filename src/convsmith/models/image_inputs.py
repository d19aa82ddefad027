"""Where images come from: files, folders, patterns, addresses, standard input, Pillow images and arrays."""

import glob
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.decode import UnusableImageError
from convsmith.data.folders import SUFFIXES
from convsmith.errors import FileError, Problem
from convsmith.models.bundle_schema import Preprocessing
from convsmith.models.preprocessing import Pixels, pixels_of, pixels_of_array, pixels_of_image

Given = str | Path | Image.Image | NDArray[np.uint8]

# What an address or standard input may send, and how long it may take.
MAX_BYTES = 64 * 1024**2
SECONDS = 20.0
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image that was asked for: what it is called, and how it is read."""

    name: str
    read: Callable[[Preprocessing], Pixels]


def items_of(given: Given | Iterable[Given]) -> Iterator[Item]:
    """All images that are meant, in the order given; files are read when their turn comes.

    Args:
        given: Paths of files and folders, patterns such as `*.png`, http(s) addresses, `-` for standard
            input, Pillow images, or uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`.

    Raises:
        FileError: Naming all paths at which there is nothing, before any image is read.
    """
    alone = isinstance(given, str | Path | Image.Image | np.ndarray)
    every = [cast("Given", given)] if alone else list(cast("Iterable[Given]", given))
    paths = iter(expanded(str(each) for each in every if isinstance(each, str | Path)))
    return _items(every, paths)


def _items(every: list[Given], names: Iterator[list[str]]) -> Iterator[Item]:
    number = 0
    for each in every:
        if isinstance(each, str | Path):
            yield from (Item(name=name, read=_reader(name)) for name in next(names))
        elif isinstance(each, Image.Image):
            yield Item(name=f"image {number}", read=_of_image(each))
        else:
            count = len(each) if each.ndim == 4 else 1
            for index in range(count):
                part = each[index] if each.ndim == 4 else each
                yield Item(name=f"image {number + index}", read=_of_array(part))
            number += count - 1
        number += 1


def expanded(texts: Iterable[str]) -> list[list[str]]:
    """What each text stands for: itself, the files of a folder, those that a pattern fits, or an address.

    Raises:
        FileError: Naming every text that stands for nothing.
    """
    found, problems = [], []
    for text in texts:
        names = _meant(text)
        if isinstance(names, Problem):
            problems.append(names)
        else:
            found.append(names)
    if problems:
        raise FileError.of(problems)
    return found


def _meant(text: str) -> list[str] | Problem:
    path = Path(text)
    if text == "-" or _is_address(text):
        return [text]
    if path.is_dir():
        names = images_below(path)
        return names or Problem(
            what="this folder holds no images", where=text, fix=f"looked for {', '.join(sorted(SUFFIXES))}"
        )
    if path.exists():
        return [text]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        names = [
            name for each in matches for name in (images_below(Path(each)) if Path(each).is_dir() else [each])
        ]
        return names or Problem(what="no file fits this pattern", where=text, fix="check folder and pattern")
    return Problem(what="no such file or folder", where=text, fix="check the path")


def images_below(folder: Path) -> list[str]:
    """The image files of a folder and those below it by their suffixes, in order; hidden ones left out."""
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _is_address(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _reader(name: str) -> Callable[[Preprocessing], Pixels]:
    if name == "-":
        return lambda rule: pixels_of(_limited(sys.stdin.buffer.read(MAX_BYTES + 1)), rule)
    if _is_address(name):
        return lambda rule: pixels_of(fetch(name), rule)
    return lambda rule: pixels_of(_content(Path(name)), rule)


def _content(path: Path) -> bytes:
    # Not by way of the decoder, which would wait for a pipe without end.
    if not path.is_file():
        raise UnusableImageError("unreadable", "not a file" if path.exists() else "no such file")
    with path.open("rb") as file:
        return _limited(file.read(MAX_BYTES + 1))


def _of_image(image: Image.Image) -> Callable[[Preprocessing], Pixels]:
    return lambda rule: pixels_of_image(image, rule)


def _of_array(array: NDArray[Any]) -> Callable[[Preprocessing], Pixels]:
    return lambda rule: next(pixels_of_array(array, rule))


def fetch(address: str, *, seconds: float = SECONDS, most: int = MAX_BYTES) -> bytes:
    """What an http(s) address sends; it may redirect to others of the kind.

    Raises:
        UnusableImageError: No answer, an answer that is an error, too slow, or too large.
    """
    # No handlers for files, ftp or data: a redirect cannot lead there.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "convsmith")]
    end = time.monotonic() + seconds
    content = bytearray()
    try:
        with opener.open(address, timeout=seconds) as answer:
            while chunk := answer.read1(_CHUNK):
                content += chunk
                _limited(content, most)
                # Each wait has its limit; many short ones have theirs here.
                if time.monotonic() > end:
                    raise UnusableImageError("unreadable", f"not there after {seconds:g} seconds")
    except urllib.error.HTTPError as error:
        raise UnusableImageError("unreadable", f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnusableImageError(
            "unreadable", f"cannot be fetched: {getattr(error, 'reason', error)}"
        ) from error
    return bytes(content)


def _limited(content: bytes | bytearray, most: int = MAX_BYTES) -> bytes:
    if len(content) > most:
        raise UnusableImageError("oversized", f"more than {most:,} bytes")
    return content  # type: ignore[return-value]
