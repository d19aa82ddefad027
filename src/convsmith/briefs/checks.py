"""A brief as numbered checks: each has a verdict, the actual and the required value, and a fix."""

from collections.abc import Iterator, Sequence
from functools import partial

from convsmith.briefs.check import Check, check, not_applicable
from convsmith.briefs.fixes import Fixes
from convsmith.briefs.metric_checks import metric_checks
from convsmith.briefs.net_checks import net_checks
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.training_rules import training_checks
from convsmith.data.augment.transform import Augmentation
from convsmith.net.analysis import Analysis

__all__ = ["Check", "judge", "nearest_variant"]


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
    if not brief.variants:
        return _checks_of(brief, subject)
    name = nearest_variant(brief, subject)
    checks = _checks_of(brief.with_variant(name), subject)
    titles = {each.title for each in _checks_of(brief.variants[name], subject)}
    failures = [each for each in checks if each.verdict == "fail" and each.title in titles]
    names = ", ".join(brief.variants)
    variant = check(
        "variant",
        passed=not failures,
        actual=f"none; the nearest is {name}" if failures else name,
        required=f"one of {names}",
        fix=lambda: "; ".join(f"{each.title}: {each.fix}" for each in failures),
    )
    return (variant, *checks)


def nearest_variant(brief: Brief, subject: Subject) -> str:
    """Return the variant of a brief of which a net fails the fewest checks."""

    def failures(name: str) -> int:
        return sum(each.verdict == "fail" for each in _checks_of(brief.variants[name], subject))

    return min(brief.variants, key=failures)


def _checks_of(brief: Requirements, subject: Subject) -> tuple[Check, ...]:
    analysis = subject.analysis

    def failing(other: Analysis) -> frozenset[str]:
        checks = net_checks(brief, other, Fixes(other, failing))
        return frozenset(check.title for check in checks if check.verdict == "fail")

    return (
        *net_checks(brief, analysis, Fixes(analysis, failing)),
        *_augmentation_checks(brief, analysis, subject.augmentations),
        *training_checks(brief, subject),
        *metric_checks(brief, subject.metrics),
    )


def _augmentation_checks(
    brief: Requirements, analysis: Analysis, augmentations: Sequence[Augmentation] | None
) -> Iterator[Check]:
    height, width = (*analysis.input_shape[1:], 1, 1)[:2]
    for choice in brief.augmentations:
        title = f"augmentation {choice.title}"
        if augmentations is None:
            yield not_applicable(title, choice.requirement, "not known")
            continue
        rule, present, violations = choice.nearest(augmentations, (height, width))
        yield check(
            title,
            passed=not violations,
            actual=", ".join(violations) or (present.details if present else ""),
            required=choice.requirement,
            fix=partial(rule.fix, present, (height, width)),
        )
