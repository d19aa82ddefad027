"""Revisions of data sets on the Hugging Face hub."""

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import FileError
from convsmith.system import files, reading
from convsmith.system.folders import cache_folder

# A hub that does not answer must not delay a training whose images are decoded already.
TIMEOUT = 5.0
_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The commit of a data set.

    Attributes:
        commit: 40 hexadecimal digits; None if it is unknown.
        confirmed: Whether the hub named it now. Otherwise it is the one of the last time that the hub did.
    """

    commit: str | None
    confirmed: bool


def current_revision(hub_id: str) -> Revision:
    """Return the newest revision of a data set, `owner/name`; the last known one without the hub."""
    record = cache_folder() / "revisions" / f"{hashlib.sha256(hub_id.encode()).hexdigest()}.json"
    known = _read(record, hub_id)
    newest = _newest_revision(hub_id)
    if newest is None:
        return Revision(commit=known, confirmed=False)
    if newest != known:
        # A cache that is not writable costs an offline start, not this one.
        with contextlib.suppress(FileError):
            files.make_folder(record.parent)
            files.write_json(record, {"hub_id": hub_id, "revision": newest})
    return Revision(commit=newest, confirmed=True)


def _read(record: Path, hub_id: str) -> str | None:
    with contextlib.suppress(FileError):
        match reading.read_json(record):
            case {"hub_id": name, "revision": str(commit)} if name == hub_id and _REVISION.fullmatch(commit):
                return commit
    return None


def _newest_revision(hub_id: str) -> str | None:
    """Return the revision that the hub names; None if it cannot be reached, or has no such data set."""
    import huggingface_hub

    try:
        commit = huggingface_hub.HfApi().dataset_info(hub_id, timeout=TIMEOUT).sha
    # Offline, an invalid name, no such data set; the errors of its HTTP library differ between versions.
    except Exception:  # noqa: BLE001
        return None
    return commit if commit and _REVISION.fullmatch(commit) else None
