"""One check of a brief: its verdict, the actual and the required value, where it is, and a fix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from convsmith.net.rows import Location, Row
from convsmith.text import plural

Verdict = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of one point of a brief.

    Attributes:
        layer: The path of the layer that the verdict is about; empty if it is about the whole net.
        location: The line of the user's file that the verdict is about; None in the notation.
    """

    title: str
    verdict: Verdict
    actual: str
    required: str
    layer: str = ""
    location: Location | None = None
    remedy: Callable[[], str] = field(default=str, compare=False, repr=False)

    @cached_property
    def fix(self) -> str:
        """How to pass the check; empty if it does not fail. Computed on first access."""
        return self.remedy()


def check(
    title: str,
    *,
    passed: bool,
    actual: str,
    required: str,
    fix: Callable[[], str],
    row: Row | None = None,
    layer: str = "",
    location: Location | None = None,
) -> Check:
    """Return a check that passes or fails.

    Args:
        title: What is checked.
        passed: Whether it passes.
        actual: The actual value.
        required: The required one.
        fix: Returns how to pass it.
        row: The operation that a failure is about.
        layer: Its path, if there is no row.
        location: Its line, if there is no row.
    """
    if passed:
        return Check(title=title, verdict="pass", actual=actual, required=required)
    return Check(
        title=title,
        verdict="fail",
        actual=actual,
        required=required,
        layer=(row.layer or row.name) if row else layer,
        location=(row.definition or row.location) if row else location,
        remedy=fix,
    )


def row_label(row: Row) -> str:
    """Return the layer of a row, with the line of a user's file that makes it, or else calls it."""
    name, place = row.layer or row.name, row.definition or row.location
    return f"{name} ({place})" if place else name


def row_labels(rows: Sequence[Row]) -> str:
    """Return the layers of rows, the first three by name."""
    labels = list(dict.fromkeys(map(row_label, rows)))
    more = f" and {plural(len(labels) - 3, 'more layer')}" if len(labels) > 3 else ""
    return ", ".join(labels[:3]) + more


def at_most(title: str, actual: int, most: int, fix: Callable[[], str]) -> Check:
    return check(title, passed=actual <= most, actual=f"{actual:,}", required=f"at most {most:,}", fix=fix)


def unknown(title: str, required: str, reason: str) -> Check:
    """Return a check of a value that cannot be determined, which fails."""
    return Check(
        title=title,
        verdict="fail",
        actual=f"unknown: {reason}",
        required=required,
        remedy=lambda: "write that part with operations that can be analysed",
    )


def not_applicable(title: str, required: str, reason: str, fix: str = "") -> Check:
    """Return a check of what is not known of the subject, which neither passes nor fails."""
    return Check(title=title, verdict="not applicable", actual=reason, required=required, remedy=lambda: fix)
