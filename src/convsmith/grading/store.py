"""The records of a class on disk: one file per submission, so that an interruption loses none."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

import convsmith
from convsmith.errors import FileError
from convsmith.grading.outcome import Limits
from convsmith.grading.record import MAX_RECORD, Request, SubmissionRecord
from convsmith.system import files, reading
from convsmith.text import escape_json

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._-]{0,79}(?<![ .])")
# The fields of a request that are paths of this run, or differ each time.
_PASSING = {"folder", "data", "seal"}


class _Stored(BaseModel):
    """A record, what it was made from, and the limits that were in force."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    limits: dict[str, float]
    record: SubmissionRecord


def key_of(request: Request, digest: str, data: str) -> str:
    """Return a hash of everything that a record depends on: submission, brief, data, version.

    Args:
        request: What was judged, and how.
        digest: Of the private copy.
        data: The fingerprint of the images; empty without them.
    """
    fields = {name: value for name, value in request.model_dump(mode="json").items() if name not in _PASSING}
    text = files.json_text({**fields, "files": digest, "data": data, "version": convsmith.__version__})
    return hashlib.sha256(text.encode()).hexdigest()


class RecordStore:
    """The folder `records/`; one file for each name.

    Example:
        >>> import tempfile
        >>> store = RecordStore(Path(tempfile.mkdtemp()), ["ada", "grace/../.."])
        >>> record = SubmissionRecord(submission="ada", state="no net", problem="the folder is empty")
        >>> store.save(record, "key", Limits())
        >>> store.load("ada", "key", Limits()) == record, store.load("ada", "other key", Limits())
        (True, None)
        >>> store.path("grace/../..").parent == store.folder
        True
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Prepare a folder, which is created; `names` are those of all submissions."""
        self.folder = files.make_folder(folder)
        # File systems may ignore case.
        self.counts = Counter(name.casefold() for name in names)

    def path(self, name: str) -> Path:
        """Return the file of a submission, whatever characters its name has."""
        if _SAFE.fullmatch(name) and self.counts[name.casefold()] == 1:
            return self.folder / f"{name}.json"
        mark = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60].strip('-')}-{mark}.json"

    def save(self, record: SubmissionRecord, key: str, limits: Limits) -> None:
        """Write a record. Raises FileError if the disk is full or the folder is not writable."""
        stored = _Stored(key=key, limits=asdict(limits), record=record)
        files.write_text(self.path(record.submission), escape_json(stored.model_dump_json(indent=1)) + "\n")

    def load(self, name: str, key: str, limits: Limits) -> SubmissionRecord | None:
        """Return the record of a submission; None if there is none, or if it was made from something else.

        A submission that a limit stopped, or that may have failed at one, is judged again under other limits.
        """
        try:
            content = reading.read_bytes(self.path(name), 2 * MAX_RECORD)
            stored = _Stored.model_validate_json(content)
        except (FileError, ValidationError):
            return None
        is_final = _is_free_of_limits(stored.record) or stored.limits == asdict(limits)
        return stored.record if stored.key == key and is_final else None


def _is_free_of_limits(record: SubmissionRecord) -> bool:
    """Whether no limit can have mattered: an allocation that fails is a problem of a net or a note on it."""
    complete = all(not step.problem and (step.score or not step.notes) for step in record.steps)
    return record.outcome == "ok" and record.state == "judged" and complete
