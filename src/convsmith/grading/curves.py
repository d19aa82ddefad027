"""The course of a training as a log or the output of a notebook shows it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from convsmith.grading.lines import Line
from convsmith.grading.record import EpochRecord

_TEST = re.compile(
    r"(?i)\b(?:test|val\w*)\b(?P<words>[^|]*?)\bacc\w*\s*[:=]?\s*\(?"
    r"(?:(?P<right>\d+)\s*/\s*(?P<total>\d+)\s*\(?\s*)?(?P<percent>\d+(?:\.\d+)?)\s*(?P<sign>%?)"
)
_TEST_NAMED = re.compile(
    r"(?i)\b(?:test|val\w*)[ _-]*acc\w*\s*[:=]?\s*(?P<percent>\d+(?:\.\d+)?)\s*(?P<sign>%?)"
)
_TRAIN_NAMED = re.compile(r"(?i)\btrain\w*[ _-]*acc\w*\s*[:=]?\s*(?P<percent>\d+(?:\.\d+)?)\s*(?P<sign>%?)")
# The last line of a progress bar: "Loss=0.02 Batch_id=468 Accuracy=98.71: 100%|...| 469/469".
_BAR = re.compile(r"(?i)\bacc\w*\s*=\s*(?P<percent>\d+(?:\.\d+)?)\s*(?P<sign>%?)\s*:?\s*100%\|")
_REPEATED = re.compile(r"(?i)\b(best|saving|saved|increased|improved|highest)\b")
_EPOCH = re.compile(r"(?i)\bepochs?\b\W{0,12}(?P<number>\d+)")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The epochs of one training, with the place where they stand."""

    file: str
    place: str
    epochs: tuple[EpochRecord, ...]

    @property
    def tests(self) -> list[float]:
        """The test accuracies that are known, in order."""
        return [each.test for each in self.epochs if each.test is not None]


def curves_in(lines: Sequence[Line]) -> list[Curve]:
    """Return the trainings in the outputs, one for each cell or log with two epochs or more.

    A training whose epochs begin anew at the lowest number is another one.

    Example:
        >>> text = "Test set: Average loss: 0.04, Accuracy: {}/10000 ({:.2f}%)"
        >>> lines = [
        ...     Line(file="a.ipynb", place="output of cell 1", kind="output", text=text.format(n, n / 100))
        ...     for n in (9870, 9912)
        ... ]
        >>> curves_in(lines)[0].tests
        [0.987, 0.9912]
    """
    places: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.kind == "output":
            # A log is one place, whatever its lines.
            place = line.place if line.place.startswith("output") else "its lines"
            places.setdefault((line.file, place), []).append(line.text)
    return [
        curve
        for (file, place), texts in places.items()
        for curve in _curves(file, place, texts)
        if len(curve.epochs) > 1
    ]


def _curves(file: str, place: str, texts: Sequence[str]) -> list[Curve]:
    runs: list[list[EpochRecord]] = [[]]
    train, last = None, -1
    for text in texts:
        named = _EPOCH.search(text)
        number = int(named["number"]) if named else None
        if number is not None and number < last:
            runs.append([])
        last = number if number is not None else last
        if match := _BAR.search(text) or _TRAIN_NAMED.search(text):
            train = _share(match["percent"], match["sign"])
        # A line that repeats the result of an epoch: "Test Accuracy: 90.33 has increased. Saving the model".
        if _REPEATED.search(text) or not (match := _TEST_NAMED.search(text) or _TEST.search(text)):
            continue
        groups = match.groupdict()
        test = _share(groups["percent"], groups["sign"] or ("%" if groups.get("total") else ""))
        if groups.get("total") and 0 < int(groups["right"]) <= int(groups["total"]):
            test = int(groups["right"]) / int(groups["total"])
        if test is not None:
            runs[-1].append(EpochRecord(epoch=len(runs[-1]) + 1, train=train, test=test))
            train = None
    return [Curve(file=file, place=place, epochs=tuple(run)) for run in runs]


def _share(text: str, sign: str) -> float | None:
    value = float(text)
    share = value / 100 if sign or value > 1 else value
    return share if 0 <= share <= 1 else None
