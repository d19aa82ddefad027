"""Checks of the number of parameters: all, or those that are trained."""

from collections.abc import Iterator

from convsmith.briefs.check import Check, check
from convsmith.briefs.fixes import Fixes
from convsmith.briefs.requirements import Requirements
from convsmith.net.analysis import Analysis


def parameter_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    """Check the number of parameters against the limits of a brief."""
    least, most = brief.min_parameters, brief.max_parameters
    if least is None and most is None:
        return
    trainable = brief.parameters_count == "trainable"
    count = analysis.trainable if trainable else analysis.parameters
    title = "trainable parameters" if trainable else "parameters"

    def fix() -> str:
        if most is not None and count > most:
            return fixes.smaller(title, count - most, "parameters")
        return fixes.wider(title, (least or 0) - count)

    yield check(
        title,
        passed=(least is None or count >= least) and (most is None or count <= most),
        actual=f"{count:,}",
        required=_limits(least, most),
        fix=fix,
    )


def _limits(least: int | None, most: int | None) -> str:
    if least is None:
        return f"at most {most:,}"
    return f"at least {least:,}" if most is None else f"{least:,} to {most:,}"
