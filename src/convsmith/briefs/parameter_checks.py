"""Checks of the number of parameters: all, or those that are trained."""

from collections.abc import Iterator

from convsmith.briefs.check import Check, check
from convsmith.briefs.effects import HIDDEN_LIMIT, hidden_tensors, listed, parameters_text
from convsmith.briefs.fixes import Fixes
from convsmith.briefs.requirements import Requirements
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis


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
        actual=f"{count:,}{_details(analysis)}",
        required=_limits(least, most),
        fix=fix,
    )
    # In the notation nothing can hide.
    if most is not None and not isinstance(analysis, SpecAnalysis):
        yield _hidden_tensors(analysis)


def _details(analysis: Analysis) -> str:
    """Return the parameters by their kind, if not all of them are trained."""
    is_plain = not (analysis.frozen or analysis.unregistered or hidden_tensors(analysis))
    return "" if is_plain else f" ({parameters_text(analysis)})"


def _hidden_tensors(analysis: Analysis) -> Check:
    """Check that no weights hide from the count: a limit on parameters is one on what a net learns."""
    findings = hidden_tensors(analysis)
    first = findings[0] if findings else None
    return check(
        "hidden tensors",
        passed=not findings,
        actual=listed(findings) or "none",
        required=f"at most {HIDDEN_LIMIT} values outside of parameters and buffers",
        fix=lambda: f"{first.layer}: {first.fix}" if first else "",
        layer=first.layer if first else "",
        location=first.location if first else None,
    )


def _limits(least: int | None, most: int | None) -> str:
    if least is None:
        return f"at most {most:,}"
    return f"at least {least:,}" if most is None else f"{least:,} to {most:,}"
