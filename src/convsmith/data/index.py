"""The index of the cache: which decoded images belong to a source. Every entry is verified by its hash."""

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convsmith.data.issues import DataIssue
from convsmith.data.raw import SourceLayout
from convsmith.errors import FileError
from convsmith.system import files, folders, reading

# The name of a folder of decoded images: their fingerprint, and the start of the hash of its meta.json.
_CONTENT_NAME = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A source's decoded images, with its own class names: equal images may have other names elsewhere.

    Attributes:
        content: The name of the folder of the images.
        meta_sha256: Of the folder's meta.json, which has the hashes of its other files.
        source: The location of the source.
        background: The colour behind transparent pixels, a level for each channel.
        layout: What was decided about its splits and names, and what is not read.
        groups: Of each image, by split, if the recipe groups them; equal images can have others elsewhere.
    """

    content: str
    meta_sha256: str
    source: str
    class_names: tuple[str, ...]
    background: tuple[int, ...]
    dropped: tuple[DataIssue, ...]
    layout: SourceLayout
    groups: Mapping[str, Sequence[int]] | None = None


def cache_folder() -> Path:
    """Return `$CONVSMITH_CACHE`, or `convsmith` in the user's cache folder."""
    if folder := os.environ.get("CONVSMITH_CACHE"):
        return Path(folder)
    return folders.user_cache_folder("convsmith")


def write_entry(key: str, entry: Entry) -> None:
    """Write an entry. Its key is part of its hash: entries that were exchanged are not valid.

    Raises:
        FileError: The folder is not writable.
    """
    record = {"key": key, **asdict(entry)}
    path = _path(key)
    files.make_folder(path.parent)
    files.write_json(path, {"sha256": _hash(record), **record})


def read_entry(key: str) -> Entry | None:
    """Return an entry; None if it is missing, unreadable or not what was written."""
    with contextlib.suppress(FileError, TypeError):
        record = reading.read_json(_path(key))
        if isinstance(record, dict):
            sha256 = record.pop("sha256", None)
            return _entry(record) if record.get("key") == key and _hash(record) == sha256 else None
    return None


def forget(source: str) -> None:
    """Remove all entries of a location, and those that are damaged.

    Raises:
        FileError: The folder is not writable.
    """
    for path in _path("").parent.glob("*.json"):
        entry = read_entry(path.stem)
        if entry is None or entry.source == source:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise files.write_error(path, error) from error


def _path(key: str) -> Path:
    return cache_folder() / "sources" / f"{key}.json"


def _entry(record: Mapping[str, Any]) -> Entry | None:
    match record:
        case {
            "content": str(content),
            "meta_sha256": str(meta),
            "source": str(source),
            "class_names": list(names),
            "background": list(background),
            "dropped": list(dropped),
            "layout": {
                "notes": list(notes),
                "left_out": dict(left_out),
                "test_is_validation": bool(swapped),
                "description": str(description),
            },
            # The name of the content cannot leave the cache.
        } if _CONTENT_NAME.fullmatch(content) and _SHA256.fullmatch(meta):
            issues = tuple(DataIssue(**each) for each in dropped)
            return Entry(
                content=content,
                meta_sha256=meta,
                source=source,
                class_names=tuple(map(str, names)),
                background=tuple(map(int, background)),
                dropped=issues,
                layout=SourceLayout(
                    notes=tuple(notes),
                    left_out=left_out,
                    test_is_validation=swapped,
                    description=description,
                ),
                groups=record.get("groups"),
            )
        case _:
            return None


def _hash(record: Mapping[str, Any]) -> str:
    ordered = {key: record[key] for key in sorted(record)}
    return hashlib.sha256(files.json_text(ordered).encode(errors="backslashreplace")).hexdigest()
