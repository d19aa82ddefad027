"""A brief as numbered checks: each has a verdict, the actual and the required value, and a fix."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

from convsmith.briefs.fixes import Fixes, plain_block_ends
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.structure import blocks, count_idle, count_kind
from convsmith.briefs.subject import Subject
from convsmith.data.augment.transform import Augmentation
from convsmith.net.analysis import Analysis
from convsmith.net.remarks import lines_text
from convsmith.net.rows import Location
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


def judge(brief: Brief, subject: Subject) -> tuple[Check, ...]:
    """Check a net, and its training as far as it is known, against a brief.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> analysis = analyze(plan(parse("C64 M2 / F10"), (3, 32, 32)))
        >>> brief = Brief(max_parameters=200_000, forbid=("max-pooling",))
        >>> for check in judge(brief, Subject(analysis=analysis)):
        ...     print(check.verdict, "|", check.title, "|", check.actual)
        pass | parameters | 165,706
        fail | no max-pooling | 1 layer
    """
    analysis = subject.analysis

    def failing(other: Analysis) -> frozenset[str]:
        checks = _net_checks(brief, other, Fixes(other, failing))
        return frozenset(check.title for check in checks if check.verdict == "fail")

    return (
        *_net_checks(brief, analysis, Fixes(analysis, failing)),
        *_augmentation_checks(brief, analysis, subject.augmentations),
        *_metric_checks(brief, subject.metrics),
    )


def _net_checks(brief: Brief, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    yield from _size_checks(brief, analysis, fixes)
    yield from _receptive_field_checks(brief, analysis, fixes)
    yield from _kind_checks(brief, analysis, fixes)
    yield from _block_checks(brief, analysis, fixes)


def _size_checks(brief: Brief, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    parameters = analysis.parameters
    if (most := brief.max_parameters) is not None:
        yield _bound(
            "parameters",
            parameters,
            most,
            lambda: fixes.smaller("parameters", parameters - most, "parameters"),
        )
    if (least := brief.min_parameters) is not None:
        yield _check(
            "parameters",
            passed=parameters >= least,
            actual=f"{parameters:,}",
            required=f"at least {least:,}",
            fix=lambda: fixes.wider("parameters", least - parameters),
        )
    if (macs := brief.max_macs) is not None:
        if analysis.unknown_macs:
            names = ", ".join(row.name for row in analysis.unknown_macs[:3])
            yield _unknown("MACs", f"at most {macs:,}", f"those of {names} are unknown")
        else:
            yield _bound(
                "MACs",
                analysis.known_macs,
                macs,
                lambda: fixes.smaller("MACs", analysis.known_macs - macs, "macs"),
            )
    if (room := brief.max_activation_bytes) is not None:
        title = "activation memory in bytes"
        yield _bound(title, analysis.peak_activation_bytes, room, lambda: fixes.less_memory(title))
    if (file := brief.max_file_bytes) is not None:
        name = f"weights in {brief.file_format}, bytes"
        advice = "narrow the layers, or use a smaller format"
        yield _bound(name, analysis.file_bytes[brief.file_format], file, lambda: fixes.narrower(name, advice))


def _receptive_field_checks(brief: Brief, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    if (least := brief.min_receptive_field) is not None:
        required = f"at least {least} pixels"
        field = analysis.receptive_field
        if field is None:
            yield _unknown("receptive field", required, analysis.final_receptive_field.unknown)
        else:
            yield _check(
                "receptive field",
                passed=field >= least,
                actual=f"{field} pixels",
                required=required,
                fix=lambda: fixes.larger_field("receptive field"),
            )
    if brief.full_coverage:
        title = "coverage of the image"
        if analysis.uncovered is None:
            yield _unknown(title, "every pixel", "the receptive field of an operation")
        else:
            yield _check(
                title,
                passed=not any(analysis.uncovered),
                actual=f"{lines_text(analysis.uncovered)} are missed"
                if any(analysis.uncovered)
                else "every pixel",
                required="every pixel",
                fix=lambda: fixes.covering(title),
            )


def _kind_checks(brief: Brief, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    for kind in brief.require:
        count, idle = count_kind(analysis.rows, kind), count_idle(analysis.rows, kind)
        yield _check(
            kind,
            passed=count > 0,
            actual=plural(count, "layer") + (f", and {idle} without effect" if idle else ""),
            required="at least 1 layer",
            fix=partial(fixes.with_kind, kind, kind),
        )
    for kind in brief.forbid:
        count = count_kind(analysis.rows, kind)
        title = f"no {kind}"
        yield _check(
            title,
            passed=not count,
            actual=plural(count, "layer"),
            required="none",
            fix=partial(fixes.without_kind, title, kind),
        )


def _block_checks(brief: Brief, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    if (pattern := brief.blocks) is None:
        return
    parts = blocks(analysis.rows)
    title = "blocks of convolutions"
    yield _check(
        title,
        passed=len(parts) == pattern.count,
        actual=f"{len(parts)}",
        required=f"{pattern.count} before the output",
        fix=partial(fixes.block_count, title, pattern),
    )
    if (each := pattern.convolutions) is not None:
        counts = [len(block.convolutions) for block in parts]
        wrong = [block.name for block in parts if len(block.convolutions) != each]
        title = "convolutions in each block"
        yield _check(
            title,
            passed=bool(counts) and set(counts) == {each},
            actual=", ".join(map(str, counts)) or "none",
            required=f"{each} each",
            fix=partial(fixes.block_lengths, title, pattern, wrong),
        )
    if pattern.shrink == "strided-or-dilated":
        plain = plain_block_ends(analysis)
        # One block alone has no end that could shrink.
        missing = len(parts) < min(pattern.count, 2)
        blocks_text = plural(len(parts), "block") if missing else "all"
        title = "stride or dilation at block ends"
        yield _check(
            title,
            passed=not plain and not missing,
            actual=f"none in {', '.join(plain)}" if plain else blocks_text,
            required="in every block but the last",
            fix=partial(fixes.block_ends, title, pattern, plain),
        )


def _augmentation_checks(
    brief: Brief, analysis: Analysis, augmentations: Sequence[Augmentation] | None
) -> Iterator[Check]:
    height, width = (*analysis.input_shape[1:], 1, 1)[:2]
    for rule in brief.augmentations:
        title = f"augmentation {rule.name}"
        if augmentations is None:
            yield Check(title=title, verdict="not applicable", actual="not known", required=rule.requirement)
            continue
        present = rule.best(augmentations, (height, width))
        violations = rule.violations(present, (height, width)) if present else ["not named"]
        yield _check(
            title,
            passed=not violations,
            actual=", ".join(violations) or (present.details if present else ""),
            required=rule.requirement,
            fix=partial(rule.fix, present, (height, width)),
        )


def _metric_checks(brief: Brief, metrics: RunMetrics | None) -> Iterator[Check]:
    if (least := brief.min_accuracy) is not None:
        accuracy = None if metrics is None else metrics.accuracy
        yield _metric_check(
            "test accuracy",
            metrics,
            accuracy,
            passed=accuracy is not None and accuracy >= least,
            bound=("at least", least),
            fix="train longer, or change the net or the settings",
        )
    if (most := brief.max_calibration_error) is not None:
        error = None if metrics is None else metrics.calibration_error
        yield _metric_check(
            "calibration error",
            metrics,
            error,
            passed=error is not None and error <= most,
            bound=("at most", most),
            fix="use less label smoothing, or a temperature fitted on held-out images",
        )


def _metric_check(
    title: str,
    metrics: RunMetrics | None,
    value: float | None,
    *,
    passed: bool,
    bound: tuple[str, float],
    fix: str,
) -> Check:
    direction, limit = bound
    decimals = _decimals(value, limit)
    required = f"{direction} {limit:.{decimals}%}"
    if value is None:
        return Check(
            title=title,
            verdict="not applicable",
            actual="not trained" if metrics is None else "not measured",
            required=required,
            remedy=lambda: "train the recipe, then check the folder of the run",
        )
    actual = f"{value:.{decimals}%}"
    return _check(title, passed=passed, actual=actual, required=required, fix=lambda: fix)


def _decimals(value: float | None, limit: float) -> int:
    """Return the decimals at which a percentage is exact for a limit, and tells a value from it."""

    def is_enough(decimals: int) -> bool:
        differs = value is None or value == limit or f"{value:.{decimals}%}" != f"{limit:.{decimals}%}"
        return differs and round(limit, decimals + 2) == limit

    return next(filter(is_enough, range(2, 8)), 8)


def _check(title: str, *, passed: bool, actual: str, required: str, fix: Callable[[], str]) -> Check:
    return Check(
        title=title,
        verdict="pass" if passed else "fail",
        actual=actual,
        required=required,
        remedy=str if passed else fix,
    )


def _bound(title: str, actual: int, most: int, fix: Callable[[], str]) -> Check:
    return _check(title, passed=actual <= most, actual=f"{actual:,}", required=f"at most {most:,}", fix=fix)


def _unknown(title: str, required: str, reason: str) -> Check:
    """An unknown value fails the check."""
    return Check(
        title=title,
        verdict="fail",
        actual=f"unknown: {reason}",
        required=required,
        remedy=lambda: "write that part with operations that can be analysed",
    )
