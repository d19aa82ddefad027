"""Signatures: what the cache compares to decide whether decoded images are still those of their files."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import PIL
from PIL import features

from convsmith.data.config import DataConfig
from convsmith.errors import FileError
from convsmith.system import reading
from convsmith.system.stamps import is_fresh, stamp_of

# Incremented when the same files give other pixels, labels or splits, so that older images are not used.
DECODE_VERSION = 5
# Fields of `[data]` that change neither which images are decoded nor how; any other field counts.
_UNRELATED = frozenset(
    {"source", "validation", "test_fraction", "split_seed", "fold", "keep_in", "mean", "std"}
)
# The libraries of Pillow: another version of one can decode, or convert LAB to, other pixels.
_CODECS = ("jpg", "libjpeg_turbo", "webp", "libtiff", "zlib", "avif", "littlecms2")


def file_signature(files: Iterable[Path], root: Path, now: int | None = None) -> str:
    """Return a SHA-256 that changes when a file below `root` is changed, replaced, renamed, added or removed.

    A stamp identifies the content of a file. The content of a file that was changed in the last two seconds
    counts too, since a second change could leave its stamp as it is.

    Args:
        files: Below `root`.
        root: A folder.
        now: The end of these two seconds, by `time.time_ns`; by default the present.
    """
    now = now or time.time_ns()
    digest = hashlib.sha256(b"[")
    # A list in JSON, item by item.
    for number, path in enumerate(files):
        digest.update(f"{', ' if number else ''}{json.dumps(_stamp(path, root, now))}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def _stamp(path: Path, root: Path, now: int) -> list[str | int]:
    name = os.fsencode(path.relative_to(root)).hex()
    try:
        stamp = stamp_of(path.stat())
        return [name, *stamp, *([reading.sha256(path)] if is_fresh(stamp, now) else [])]
    except (OSError, FileError) as error:
        # An unreadable file is reported, by name, when its image is decoded.
        return [name, type(error).__name__]


def package_signature(package: str) -> str:
    """Return the signature of data that a package contains.

    >>> package_signature("numpy").startswith("numpy ")
    True
    """
    return f"{package} {version(package)}"


def decode_signature(config: DataConfig) -> str:
    """Return everything but the files that a decoded data set depends on: options and decoder."""
    options = config.model_dump(mode="json", exclude=set(_UNRELATED))
    if config.own_validation:
        options["validation"] = config.validation
    # Caches of versions without this field stay valid.
    if not config.merge_spellings:
        del options["merge_spellings"]
    return _signature(options)


def pixel_signature(config: DataConfig) -> str:
    """Return everything but its file that the pixels of one image depend on: options and decoder."""
    return _signature({"size": config.size, "policy": config.policy, "background": config.background})


def _signature(options: Mapping[str, Any]) -> str:
    decoder = {
        "version": DECODE_VERSION,
        "pillow": PIL.__version__,
        # None for what this Pillow was built without, or is too old to know.
        "codecs": {codec: features.version(codec) for codec in _CODECS},
    }
    return json.dumps({"options": options, "decoder": decoder}, sort_keys=True)
