"""The data sets in memory of the calls that are running, by the hash of their content."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.raw import RawData, Source
from convsmith.errors import DataError

# `data.source` of such a data set, before the hash.
MEMORY_PREFIX = "memory:"
_DIGITS = 32
_DATA_SETS: dict[str, RawData] = {}
_USERS = Counter[str]()


@contextmanager
def register(data: RawData) -> Iterator[str]:
    """Keep a data set available while the block lasts, and return its `data.source`.

    The name is that of the content: images, labels, class names and splits, in any order of the images.
    """
    name = f"{MEMORY_PREFIX}{content_hash(data)}"
    _DATA_SETS.setdefault(name, data)
    _USERS[name] += 1
    try:
        yield name
    finally:
        _USERS[name] -= 1
        if not _USERS[name]:
            del _DATA_SETS[name], _USERS[name]


def memory_data(name: str) -> RawData:
    """Return a data set in memory by its name.

    Raises:
        DataError: It is not available: the call needs the data again.
    """
    if name not in _DATA_SETS:
        raise DataError(
            "these images were passed in Python, and the cache does not have them any more",
            where=f"data.source={name}",
            fix="pass the same data in Python once, for example cs.evaluate(run, data=(x, y)) or "
            "cs.resume(run, data=...); after that every command finds their images in the cache",
        )
    return _DATA_SETS[name]


def check_available(source: Source) -> None:
    """Raise DataError for data in memory that are not available, before the cache forgets them."""
    if source.kind == "memory":
        memory_data(source.location)


def content_hash(data: RawData) -> str:
    """Return a hash of the images, labels, class names and splits of a data set.

    >>> from convsmith.data.raw import RawSplit
    >>> def data(*images): return RawData(
    ...     splits={"train": RawSplit(images=images, labels=[0, 0], locations=["", ""])}, class_names=("a",)
    ... )
    >>> one, two = np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)
    >>> content_hash(data(one, two)) == content_hash(data(two, one)) != content_hash(data(one, one))
    True
    """
    total = hashlib.sha256(repr(data.class_names).encode())
    for name in sorted(data.splits):
        split = data.splits[name]
        pairs: Iterable[tuple[Encoded | UnusableImageError, object]] = zip(
            split.images, split.labels, strict=True
        )
        digests = sorted(
            hashlib.sha256(f"{label!r} ".encode() + _content(image)).digest() for image, label in pairs
        )
        total.update(f" {name} {len(digests)} ".encode() + b"".join(digests))
    return total.hexdigest()[:_DIGITS]


def _content(image: Encoded | UnusableImageError) -> bytes:
    """Return bytes that differ for images that differ."""
    match image:
        case bytes():
            return b"file " + image
        case str():
            try:
                return b"file " + Path(image).read_bytes()
            except (OSError, ValueError) as error:
                return f"no file {error}".encode(errors="backslashreplace")
        case np.ndarray():
            return f"array {image.shape} {image.dtype} ".encode() + np.ascontiguousarray(image).tobytes()
        case Image.Image():
            try:
                palette = image.getpalette() or []
                return (
                    f"image {image.mode} {image.size} {palette} {image.info.get('transparency')} ".encode()
                    + image.tobytes()
                )
            # A file that Pillow opens when its pixels are needed.
            except Exception as error:  # noqa: BLE001 - decoders raise nearly any exception
                return f"damaged {error}".encode(errors="backslashreplace")
        case UnusableImageError():
            return f"unusable {image.reason}".encode(errors="backslashreplace")
        case _:
            return b"none"
