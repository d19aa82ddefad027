"""The index of the cache: which decoded images belong to a source. Every entry is verified by its hash."""

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convsmith.data.issues import DataIssue
from convsmith.data.raw import SourceLayout
from convsmith.errors import FileError
from convsmith.system import files, reading
from convsmith.system.folders import cache_folder

# The name of a folder of decoded images: their fingerprint, and the start of the hash of its meta.json.
_CONTENT_NAME = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Folders of entries: by the state of the files of a source, and the latest of each source.
SOURCES, LATEST = "sources", "latest"


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
        arrays_sha256: Of the arrays beside an entry: in `SOURCES` the position of each image of the source.
    """

    content: str
    meta_sha256: str
    source: str
    class_names: tuple[str, ...]
    background: tuple[int, ...]
    dropped: tuple[DataIssue, ...]
    layout: SourceLayout
    groups: Mapping[str, Sequence[int]] | None = None
    arrays_sha256: str | None = None


def write_entry(key: str, entry: Entry, folder: str = SOURCES) -> None:
    """Write an entry. Its key is part of its hash: entries that were exchanged are not valid.

    Args:
        key: In hexadecimal digits.
        entry: To be written.
        folder: `SOURCES`, or `LATEST` with a key that does not depend on the state of the files.

    Raises:
        FileError: The folder is not writable.
    """
    record = {"key": key, **asdict(entry)}
    path = entry_path(key, folder)
    files.make_folder(path.parent)
    files.write_json(path, {"sha256": _hash(record), **record})


def read_entry(key: str, folder: str = SOURCES, cache: Path | None = None) -> Entry | None:
    """Return an entry; None if it is missing, unreadable or not what was written."""
    with contextlib.suppress(FileError, TypeError):
        record = reading.read_json(entry_path(key, folder, cache))
        if isinstance(record, dict):
            sha256 = record.pop("sha256", None)
            return _entry(record) if record.get("key") == key and _hash(record) == sha256 else None
    return None


def forget(source: str) -> None:
    """Remove all entries of a location, and those that are damaged.

    Raises:
        FileError: The folder is not writable.
    """
    for folder in (SOURCES, LATEST):
        for path in entry_path("", folder).parent.glob("*.json"):
            entry = read_entry(path.stem, folder)
            if entry is None or entry.source == source:
                try:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".npz").unlink(missing_ok=True)
                except OSError as error:
                    raise files.write_error(path, error) from error


def entry_path(key: str, folder: str, cache: Path | None = None) -> Path:
    """Return the file of an entry; arrays that belong to it have the suffix `.npz`."""
    return (cache or cache_folder()) / folder / f"{key}.json"


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
                arrays_sha256=record.get("arrays_sha256"),
            )
        case _:
            return None


def _hash(record: Mapping[str, Any]) -> str:
    ordered = {key: record[key] for key in sorted(record)}
    return hashlib.sha256(files.json_text(ordered).encode(errors="backslashreplace")).hexdigest()
