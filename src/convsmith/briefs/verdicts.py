"""Verdicts and hints as text, Markdown and plain values."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from convsmith.briefs.checks import Check
from convsmith.briefs.hints import Hint
from convsmith.text import markdown_table

_MARKS = {"pass": "✅", "fail": "❌", "not applicable": "▫️"}


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
