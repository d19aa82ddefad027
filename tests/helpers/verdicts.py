"""Checks of a brief for tests of how they are shown."""

from convsmith.briefs.checks import Check
from convsmith.net.rows import Location

PASSED = Check(title="residual", verdict="pass", actual="1 layer", required="at least 1 layer")


def failed(fix: str) -> Check:
    """Return a failed check of a layer, with its line."""
    return Check(
        title="parameters",
        verdict="fail",
        actual="8,442",
        required="at most 8,000",
        layer="conv1",
        location=Location(file="model.py", line=7),
        remedy=lambda: fix,
    )
