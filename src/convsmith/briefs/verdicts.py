"""Verdicts and hints as text, Markdown and plain values."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from convsmith.briefs.checks import Check
from convsmith.briefs.hints import Hint, grouped
from convsmith.text import markdown_table, plural

MARKS = {"pass": "✅", "fail": "❌", "not applicable": "▫️"}


class Verdicts(tuple[Check, ...]):  # noqa: SLOT001 - a tuple has no slots beside its items
    """The checks of a brief, in its order.

    Attributes:
        net: The name of the net, for messages; may be empty.

    Example:
        >>> passed = Check(title="parameters", verdict="pass", actual="9", required="at most 10")
        >>> Verdicts([passed]).passed
        True
    """

    net: str

    def __new__(cls, checks: Iterable[Check] = (), *, net: str = "") -> Self:
        self = super().__new__(cls, checks)
        self.net = net
        return self

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(each for each in self if each.verdict == "fail")

    @property
    def passed(self) -> bool:
        """Whether no check fails; one that is not applicable does not."""
        return not self.failed

    def require(self) -> "Verdicts":
        """Return the checks if none fails, for a test of your own.

        Raises:
            AssertionError: A check fails. The message has each failed check with its line and its fix.

        Example:
            >>> failed = Check(title="parameters", verdict="fail", actual="12", required="at most 10")
            >>> Verdicts([failed], net="model.py:Net").require()
            Traceback (most recent call last):
            AssertionError: model.py:Net: 1 of 1 check failed
              parameters: found 12, required at most 10
        """
        # pytest leaves a frame with this name out of its report.
        __tracebackhide__ = True
        if self.passed:
            return self
        name = f"{self.net}: " if self.net else ""
        heading = f"{name}{len(self.failed)} of {plural(len(self), 'check')} failed"
        raise AssertionError("\n".join([heading, *(line for each in self.failed for line in _failure(each))]))


def _failure(check: Check) -> list[str]:
    lines = [f"  {check.title}: found {check.actual}, required {check.required}"]
    if where := ", ".join(str(part) for part in (check.location, check.layer) if part):
        lines.append(f"    at {where}")
    if check.fix:
        lines.append(f"    fix: {check.fix}")
    return lines


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
    return [f"hint: {each.topic}: {each.layer}: {each.what}" for each in grouped(hints)]


def verdict_table(checks: Sequence[Check]) -> str:
    """Return the verdicts as a Markdown table."""
    rows = [
        [str(number), f"{MARKS[each.verdict]} {each.verdict}", each.title, each.actual, each.required]
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
                "layer": each.layer or None,
                "file": each.location.file if each.location else None,
                "cell": (each.location.cell or None) if each.location else None,
                "line": each.location.line if each.location else None,
                "fix": each.fix or None,
            }
            for number, each in enumerate(checks, start=1)
        ],
        "hints": [{"topic": each.topic, "layer": each.layer, "what": each.what} for each in hints],
    }
