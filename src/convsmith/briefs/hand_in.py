"""The models of a hand-in judged by one brief: each model, its variants, their number, and their notes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from convsmith.briefs.bounds import bound_text, within
from convsmith.briefs.check import Check, Verdict, check, not_applicable
from convsmith.briefs.checks import judge
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.text import plural

# The verdicts that a model should have few of, the gravest first.
_GRAVEST: tuple[Verdict, ...] = ("fail", "not applicable")

# Ends the value of a check that a step before the last does not pass, and need not.
BEFORE_LAST = "a step before the last"


@dataclass(frozen=True, kw_only=True)
class HandInVerdicts:
    """The checks of a hand-in.

    Attributes:
        models: Those of each model, by its name.
        whole: Those of all models together: their number, and the variants.
    """

    models: Mapping[str, tuple[Check, ...]]
    whole: tuple[Check, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks in one list; the titles of those of a model begin with its name."""
        of_models = (
            replace(each, title=f"{name}: {each.title}")
            for name, checks in self.models.items()
            for each in checks
        )
        return (*self.whole, *of_models)

    @property
    def passed(self) -> bool:
        """Whether no check fails."""
        return all(each.verdict != "fail" for each in self.checks)


def judge_all(brief: Brief, subjects: Mapping[str, Subject]) -> HandInVerdicts:
    """Judge the models of a hand-in.

    Args:
        brief: The brief of the task.
        subjects: The models by name, in the order of the steps.

    Raises:
        ValueError: There is no model.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> nets = {"Model_1": "C64 C64 / G F10", "Model_2": "C8 C8 / G F10"}
        >>> subjects = {
        ...     name: Subject(analysis=analyze_notation(net, (1, 28, 28))) for name, net in nets.items()
        ... }
        >>> verdicts = judge_all(Brief(max_parameters=7_999, steps=(2, 3), goal="last"), subjects)
        >>> for each in verdicts.checks:
        ...     print(each.verdict, "|", each.title, "|", each.actual)
        pass | models of the hand-in | 2
        not applicable | Model_1: parameters | 38,346; a step before the last
        pass | Model_2: parameters | 770
    """
    if not subjects:
        raise ValueError("a hand-in has one model or more")
    shared = brief.without_variants()
    last = list(subjects)[-1]
    models = {}
    for name, subject in subjects.items():
        checks = judge(shared, subject)
        if brief.goal == "last" and name != last:
            checks = tuple(map(_as_step, checks))
        models[name] = (*checks, *note_checks(brief, subject))
    return HandInVerdicts(models=models, whole=tuple(_whole(brief, subjects)))


def note_checks(brief: Brief, subject: Subject) -> Iterator[Check]:
    """Check that a model has the notes that a brief requires; those of a net alone are not known."""
    for name in brief.notes:
        title, required = f"note: {name}", "a text"
        if subject.notes is None:
            yield not_applicable(title, required, "not known")
            continue
        text = subject.notes.get(name, "").strip()
        yield check(
            title,
            passed=bool(text),
            actual=plural(len(text.split()), "word") if text else "missing",
            required=required,
            fix=partial('write it in the table [notes] of the recipe: {0} = "..."'.format, name),
        )


def _whole(brief: Brief, subjects: Mapping[str, Subject]) -> Iterator[Check]:
    if brief.steps is not None:
        count = len(subjects)
        yield check(
            "models of the hand-in",
            passed=within(count, brief.steps),
            actual=f"{count}",
            required=bound_text(brief.steps),
            fix=lambda: f"hand in {bound_text(brief.steps)} models, each a step",
        )
    for variant, fields in brief.variants.items():
        yield _variant_check(variant, fields, subjects)


def _variant_check(variant: str, fields: Requirements, subjects: Mapping[str, Subject]) -> Check:
    """Whether one of the models meets a variant; else what the nearest one lacks."""
    checks = {name: _checks_of(fields, subject) for name, subject in subjects.items()}
    nearest = min(checks, key=lambda name: [_count(checks[name], each) for each in _GRAVEST])
    title, required = f"variant {variant}", ", ".join(each.required for each in checks[nearest])
    misses = [each for each in checks[nearest] if each.verdict == "fail"]
    unknown = ", ".join(each.title for each in checks[nearest] if each.verdict == "not applicable")
    if not misses and unknown and not _count(checks[nearest], "pass"):
        return not_applicable(title, required, f"not known: {unknown}")
    actual = "; ".join(f"{each.title}: {each.actual}" for each in misses)
    return check(
        title,
        passed=not misses,
        actual=(f"none; the nearest is {nearest}, {actual}" if misses else nearest)
        + (f"; not known: {unknown}" if unknown else ""),
        required=required,
        fix=lambda: (
            f"add a model, such as {nearest} with this change: " + "; ".join(each.fix for each in misses)
        ),
    )


def _count(checks: Sequence[Check], verdict: Verdict) -> int:
    return sum(each.verdict == verdict for each in checks)


def _checks_of(fields: Requirements, subject: Subject) -> tuple[Check, ...]:
    return judge(Brief.model_construct(**dict(fields)), subject)


def _as_step(each: Check) -> Check:
    """Return a failed check of a step before the last, which need not meet the goal."""
    if each.verdict != "fail":
        return each
    return replace(each, verdict="not applicable", actual=f"{each.actual}; {BEFORE_LAST}", remedy=str)
