"""Folders of decoded images in the cache, and the record of the latest decoding of a location."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.data.cache.decoded_files import DecodedFiles, Earlier
from convsmith.data.cache.index import LATEST, entry_path, read_entry
from convsmith.data.config import DataConfig
from convsmith.data.images.background import named_colour
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.errors import FileError
from convsmith.system import reading
from convsmith.system.folders import cache_folder

# Incremented when the layout of the cache changes, so that an older cache is not used.
CACHE_VERSION = 3


def content_folder(cache: Path | None = None) -> Path:
    """Return the folder of all decoded images, by default in the cache of this process."""
    return (cache or cache_folder()) / f"content-{CACHE_VERSION}"


def verified_meta(content: Path, meta_sha256: str) -> Any:
    """Return meta.json of a folder; raise ValueError if a file is not what was written.

    This reads every byte, as training does anyway, at a gigabyte per second or more.
    """
    if reading.sha256(content / "meta.json") != meta_sha256:
        raise ValueError("the SHA-256 of meta.json differs")
    meta = reading.read_json(content / "meta.json")
    for name, expected in meta["sha256"].items():
        if reading.sha256(content / name) != expected:
            raise ValueError(f"the SHA-256 of {name} differs")
    return meta


def latest_decoding(key: str, config: DataConfig) -> DecodedFiles | None:
    """Return the latest decoding of a location; None without one, or if it is not what was written."""
    entry = read_entry(key, LATEST)
    if entry is None or entry.arrays_sha256 is None:
        return None
    return _read(
        Earlier(cache=str(cache_folder().absolute()), key=key, arrays_sha256=entry.arrays_sha256), config
    )


@lru_cache(maxsize=1)
def decoded_earlier(earlier: Earlier, config: DataConfig) -> DecodedFiles | None:
    """Return the decoding that another process found; None if it has been replaced since."""
    return _read(earlier, config)


def _read(earlier: Earlier, config: DataConfig) -> DecodedFiles | None:
    cache = Path(earlier.cache)
    entry = read_entry(earlier.key, LATEST, cache)
    path = entry_path(earlier.key, LATEST, cache).with_suffix(".npz")
    try:
        if entry is None or not earlier.arrays_sha256 == entry.arrays_sha256 == reading.sha256(path):
            return None
        content = content_folder(cache) / entry.content
        meta = verified_meta(content, entry.meta_sha256)
        names = (name.removesuffix("-images.npy") for name in meta["sha256"] if name.endswith("-images.npy"))
        contents = {
            name: DiskImages(np.load(content / f"{name}-images.npy", mmap_mode="r")) for name in names
        }
        # Of one channel, unless named, it is grey.
        background = named_colour(config.background, 3) if config.background else (entry.background * 3)[:3]
        return DecodedFiles(reading.read_arrays(path), background, contents, earlier)
    except (FileError, OSError, AttributeError, KeyError, TypeError, ValueError):
        return None
