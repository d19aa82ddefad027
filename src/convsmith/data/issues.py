"""Issues of a data set, file by file, and their report as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from convsmith.text import one_line, plural

Kind = Literal[
    "missing",
    "unreadable",
    "oversized",
    "bad label",
    "mixed sizes",
    "empty class",
    "few images",
    "across splits",
    "group across splits",
    "duplicate",
    "near-duplicate across splits",
    "near-duplicate",
    "wrong type",
    "mixed modes",
]
# Whether an issue stops training; in the order of the report.
STOPS_TRAINING: dict[Kind, bool] = {
    "missing": True,
    "unreadable": True,
    "oversized": True,
    "bad label": True,
    "mixed sizes": True,
    "empty class": True,
    "few images": False,
    "across splits": False,
    "group across splits": False,
    "duplicate": False,
    "near-duplicate across splits": False,
    "near-duplicate": False,
    "wrong type": False,
    "mixed modes": False,
}
DEFAULT_LIMIT = 10


@dataclass(frozen=True, kw_only=True)
class DataIssue:
    """An issue of a file, a row of a file, or a class; `file` is relative to the source."""

    kind: Kind
    file: str
    reason: str

    def line(self) -> str:
        return f"{one_line(self.file)}: {one_line(self.reason)}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of verifying a data set.

    Attributes:
        title: Its name.
        location: Its folder, hub id or package.
        images: The number of images in each split, unusable ones included.
        classes: The number of usable images of each class in each split: `{class: {split: count}}`.
        issues: The most severe first.
        ignored: Files that are not read, with the reason; they are not issues.
        notes: What the layout and the class names were taken for.
        layout: One line that names the layout of the source; empty for built-in data.
    """

    title: str
    location: str
    images: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    issues: tuple[DataIssue, ...]
    ignored: Mapping[str, str]
    notes: tuple[str, ...] = ()
    layout: str = ""

    @property
    def clean(self) -> bool:
        return not self.issues

    @property
    def counts(self) -> dict[Kind, int]:
        """The number of issues of each kind that occurs, the most severe kind first."""
        counts = Counter(issue.kind for issue in self.issues)
        return {kind: counts[kind] for kind in STOPS_TRAINING if counts[kind]}

    def record(self) -> dict[str, Any]:
        """Return plain tables, for `--json`."""
        return {
            "title": self.title,
            "location": self.location,
            "clean": self.clean,
            "stops_training": any(STOPS_TRAINING[kind] for kind in self.counts),
            "images": dict(self.images),
            "classes": {name: dict(counts) for name, counts in self.classes.items()},
            "counts": self.counts,
            "issues": [asdict(issue) for issue in self.issues],
            "ignored": dict(self.ignored),
            "notes": list(self.notes),
            "layout": self.layout,
        }


def report_lines(verification: Verification, *, limit: int | None = DEFAULT_LIMIT) -> list[str]:
    """Format a verification as lines of text, with at most `limit` files of each kind of issue."""
    images = ", ".join(plural(count, f"{name} image") for name, count in verification.images.items())
    lines = [f"{verification.title}: {images}, {plural(len(verification.classes), 'class')}"]
    lines += [f"layout: {one_line(verification.layout)}"] if verification.layout else []
    lines += [f"note: {one_line(note)}" for note in verification.notes]
    for kind, count in verification.counts.items():
        consequence = "; training stops" if STOPS_TRAINING[kind] else ""
        lines += ["", f"{kind} ({count:,}{consequence})"]
        lines += _first([issue.line() for issue in verification.issues if issue.kind == kind], limit)
    if verification.ignored:
        lines += ["", f"not read ({len(verification.ignored):,})"]
        ignored = [f"{one_line(file)}: {reason}" for file, reason in verification.ignored.items()]
        lines += _first(ignored, limit)
    total = plural(len(verification.issues), "issue") if verification.issues else "no issues"
    return [*lines, "", f"{total}; no file was changed"]


def _first(lines: Sequence[str], limit: int | None) -> list[str]:
    rest = 0 if limit is None else len(lines) - limit
    return [f"  {line}" for line in lines[:limit]] + ([f"  and {rest:,} more"] if rest > 0 else [])
