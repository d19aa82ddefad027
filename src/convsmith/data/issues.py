"""What is wrong with a data set, image by image, and as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from convsmith.text import one_line

Kind = Literal[
    "unreadable",
    "oversized",
    "bad label",
    "mixed sizes",
    "empty class",
    "few images",
    "across splits",
    "duplicate",
    "wrong type",
    "mixed modes",
]
# Whether a training stops at it; in the order of telling.
STOPS: dict[Kind, bool] = {
    "unreadable": True,
    "oversized": True,
    "bad label": True,
    "mixed sizes": True,
    "empty class": True,
    "few images": False,
    "across splits": False,
    "duplicate": False,
    "wrong type": False,
    "mixed modes": False,
}
FEW_TOLD = 10


@dataclass(frozen=True, kw_only=True)
class DataIssue:
    """Something that is wrong: with a file, a row of one, or a class; `file` is below the source's place."""

    kind: Kind
    file: str
    reason: str

    def line(self) -> str:
        return f"{one_line(self.file)}: {one_line(self.reason)}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a look at a whole data set has found.

    Attributes:
        title: Its name.
        place: Where it is.
        images: How many there are in each split, those that cannot be used included.
        classes: How many usable images of each class there are in each split: `{class: {split: count}}`.
        findings: All that is wrong, the worst first.
        ignored: Files that are not read, with the reason; that alone is not wrong.
    """

    title: str
    place: str
    images: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    findings: tuple[DataIssue, ...]
    ignored: Mapping[str, str]

    @property
    def clean(self) -> bool:
        return not self.findings

    @property
    def counts(self) -> dict[Kind, int]:
        """How many findings there are of each kind that there is, the worst first."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in STOPS if counted[kind]}

    def record(self) -> dict[str, Any]:
        """All of it as plain tables, for `--json`."""
        return {
            "title": self.title,
            "place": self.place,
            "clean": self.clean,
            "stops_training": any(STOPS[kind] for kind in self.counts),
            "images": dict(self.images),
            "classes": {name: dict(counts) for name, counts in self.classes.items()},
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
            "ignored": dict(self.ignored),
        }


def lines(verification: Verification, *, told: int | None = FEW_TOLD) -> list[str]:
    """A verification as text, with at most so many files of each kind; all of them for None."""
    images = ", ".join(f"{count:,} {name}" for name, count in verification.images.items())
    shown = [f"{verification.title}: {images} images, {len(verification.classes):,} classes"]
    for kind, count in verification.counts.items():
        what = "; training stops" if STOPS[kind] else ""
        shown += ["", f"{kind} ({count:,}{what})"]
        found = [finding.line() for finding in verification.findings if finding.kind == kind]
        shown += _first(found, told)
    if verification.ignored:
        shown += ["", f"not read ({len(verification.ignored):,})"]
        shown += _first(
            [f"{one_line(place)}: {reason}" for place, reason in verification.ignored.items()], told
        )
    total = len(verification.findings)
    closing = f"{total:,} finding{'s' if total > 1 else ''}" if total else "nothing is wrong"
    return [*shown, "", f"{closing}; nothing was changed"]


def _first(found: Sequence[str], told: int | None) -> list[str]:
    rest = 0 if told is None else len(found) - told
    return [f"  {line}" for line in found[:told]] + ([f"  and {rest:,} more"] if rest > 0 else [])
