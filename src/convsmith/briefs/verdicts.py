"""Verdicts and hints as text, Markdown and plain values."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from convsmith.briefs.checks import Check
from convsmith.briefs.hints import Hint
from convsmith.text import markdown_table, plural

_MARKS = {"pass": "✅", "fail": "❌", "not applicable": "▫️"}


class Verdicts(tuple[Check, ...]):
    """The checks of a brief, in its order.

    Example:
        >>> passed = Check(title="parameters", verdict="pass", actual="9", required="at most 10")
        >>> Verdicts([passed]).passed
        True
    """

    __slots__ = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(each for each in self if each.verdict == "fail")

    @property
    def passed(self) -> bool:
        """Whether no check fails; one that is not applicable does not."""
        return not self.failed

    def require(self) -> "Verdicts":
        """Return the checks if none fails.

        Raises:
            AssertionError: A check fails. The message has a line for each, with its fix.
        """
        if self.passed:
            return self
        count = plural(len(self.failed), "check")
        raise AssertionError("\n".join([f"{count} of the brief failed", *verdict_lines(self.failed)]))


def verdict_lines(checks: Sequence[Check]) -> list[str]:
    """Return one numbered line for each check, and its fix if it failed."""
    lines = []
    width = max((len(each.title) for each in checks), default=0)
    for number, each in enumerate(checks, start=1):
        outcome = f"{each.actual} (required: {each.required})"
        lines.append(f"{number:>2}. {each.verdict.upper():<14} {each.title:<{width}} {outcome}")
        if each.fix:
            lines.append(f"    {'':<14} fix: {each.fix}")
    return lines


def hint_lines(hints: Sequence[Hint]) -> list[str]:
    """Return one line for each topic: its first layer, and the number of the others."""
    lines = []
    for topic, group in groupby(hints, key=lambda hint: hint.topic):
        first, *others = group
        more = f" (and {len(others)} more)" if others else ""
        lines.append(f"hint: {topic}: {first.layer}{more}: {first.what}")
    return lines


def verdict_table(checks: Sequence[Check]) -> str:
    """Return the verdicts as a Markdown table."""
    rows = [
        [str(number), f"{_MARKS[each.verdict]} {each.verdict}", each.title, each.actual, each.required]
        for number, each in enumerate(checks, start=1)
    ]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return markdown_table(["#", "verdict", "check", "found", "required"], cells, left=5)


def verdict_record(checks: Sequence[Check], hints: Sequence[Hint]) -> dict[str, Any]:
    """Return verdicts and hints as JSON values."""
    return {
        "passed": all(check.verdict != "fail" for check in checks),
        "checks": [
            {
                "number": number,
                "title": each.title,
                "verdict": each.verdict,
                "found": each.actual,
                "required": each.required,
                "fix": each.fix or None,
            }
            for number, each in enumerate(checks, start=1)
        ],
        "hints": [{"topic": each.topic, "layer": each.layer, "what": each.what} for each in hints],
    }
