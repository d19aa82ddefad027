"""Signatures: what the cache compares to decide whether decoded images are still those of their files."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import PIL
from PIL import features

from convsmith.data.config import DataConfig
from convsmith.errors import FileError
from convsmith.system import reading

# Incremented when the same files give other pixels, labels or splits, so that older images are not used.
DECODE_VERSION = 4
# A file can change twice within one tick of a file system's clock: 2 s on FAT.
_TICK_NS = 2 * 10**9
# Fields of `[data]` that change neither which images are decoded nor how; any other field counts.
_UNRELATED = frozenset({"source", "validation", "test_fraction", "split_seed", "keep_in", "mean", "std"})
# The libraries of Pillow: another version of one can decode, or convert LAB to, other pixels.
_CODECS = ("jpg", "libjpeg_turbo", "webp", "libtiff", "zlib", "avif", "littlecms2")


def file_signature(files: Sequence[Path], root: Path) -> str:
    """Return a SHA-256 that changes when a file below `root` is changed, replaced, renamed, added or removed.

    Size and times identify the content of a file, with its inode: a copy that keeps its times, and two files
    that are exchanged, have another one. The change time cannot be set by a program. A file system
    without inodes gives 0. The content of a file that was changed in the last two seconds counts too,
    since a second change could leave all of these as they are.
    """
    # The clock of this machine need not be that of the file system.
    recent = time.time_ns() - _TICK_NS
    return hashlib.sha256(json.dumps([_stamp(path, root, recent) for path in files]).encode()).hexdigest()


def _stamp(path: Path, root: Path, recent: int) -> list[str | int]:
    name = os.fsencode(path.relative_to(root)).hex()
    try:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        fresh = max(status.st_mtime_ns, status.st_ctime_ns) >= recent
        return [name, *stamp, *([reading.sha256(path)] if fresh else [])]
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
    """Return everything but the files that decoded images depend on: options and decoder."""
    options = config.model_dump(mode="json", exclude=set(_UNRELATED))
    if config.own_validation:
        options["validation"] = config.validation
    decoder = {
        "version": DECODE_VERSION,
        "pillow": PIL.__version__,
        # None for what this Pillow was built without, or is too old to know.
        "codecs": {codec: features.version(codec) for codec in _CODECS},
    }
    return json.dumps({"options": options, "decoder": decoder}, sort_keys=True)
