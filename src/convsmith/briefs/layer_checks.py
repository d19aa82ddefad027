"""Checks of the layers of a net: their kinds, norms, dropout, skeleton, and maps."""

from collections.abc import Iterator, Sequence
from functools import partial

from convsmith.briefs.bounds import Bound, bound_text, ends, within
from convsmith.briefs.check import Check, check, row_labels, unknown
from convsmith.briefs.effects import listed, of_another_kind, without_effect
from convsmith.briefs.fixes import Fixes
from convsmith.briefs.kind_rules import KindRule
from convsmith.briefs.maps import map_row
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.skeleton import PART_NAMES, departure, parse_skeleton, reading_of
from convsmith.briefs.structure import (
    LAYER_KINDS,
    LayerKind,
    NormKind,
    count_kind,
    is_active,
    norm_kind,
)
from convsmith.codegen import number
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.effects import is_dropout
from convsmith.net.rows import Row
from convsmith.text import plural


def layer_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    """Check the layers of a net against a brief."""
    for rule in brief.require:
        yield _required(rule, analysis, fixes, brief.dropout)
    for kind in brief.forbid:
        rows = _active(analysis, kind)
        yield check(
            f"no {kind}",
            passed=not rows,
            actual=plural(len(rows), "layer") + _places(rows),
            required="none",
            fix=partial(fixes.without_kind, f"no {kind}", kind),
            row=rows[0] if rows else None,
        )
    if brief.norm is not None:
        yield _norm(brief.norm, analysis, fixes)
    if brief.dropout is not None:
        yield _dropout(brief.dropout, analysis, fixes)
    if brief.skeleton is not None:
        yield _skeleton(brief.skeleton, analysis, fixes)
    if brief.min_map_size is not None:
        yield _map_size(brief.min_map_size, analysis)


def _required(rule: KindRule, analysis: Analysis, fixes: Fixes, dropout: Bound | None) -> Check:
    count = sum(count_kind(analysis.rows, kind) for kind in rule.kinds)
    findings = [each for kind in rule.kinds for each in without_effect(analysis, kind, dropout=dropout)]
    if count < rule.least:
        findings += [each for kind in rule.kinds for each in of_another_kind(analysis, kind)]
    first = findings[0] if findings and count < rule.least else None

    def fix() -> str:
        # The notation has a smallest change of its own.
        if first is None or isinstance(analysis, SpecAnalysis):
            return fixes.with_kinds(rule.title, rule)
        return f"{first.layer}: {first.fix}"

    return check(
        rule.title,
        passed=not rule.excess(count),
        actual=plural(count, "layer") + (f"; {listed(findings)}" if findings else ""),
        required=rule.requirement,
        fix=fix,
        layer=first.layer if first else "",
        location=first.location if first else None,
    )


def _norm(kind: NormKind, analysis: Analysis, fixes: Fixes) -> Check:
    norms = [row for row in analysis.rows if norm_kind(row) and is_active(row)]
    counts = {str(norm_kind(row)): 0 for row in norms}
    for row in norms:
        counts[str(norm_kind(row))] += 1
    others = [row for row in norms if norm_kind(row) != kind]
    return check(
        "kind of norm",
        passed=bool(norms) and not others,
        actual=(", ".join(f"{count} {name}" for name, count in counts.items()) or "no norm with an effect")
        + _places(others),
        required=f"{kind} norm only",
        fix=partial(fixes.with_norm, "kind of norm", kind, others),
        row=others[0] if others else None,
    )


def _dropout(bound: Bound, analysis: Analysis, fixes: Fixes) -> Check:
    rows = [row for row in analysis.rows if is_dropout(row)]
    required = f"p of {bound_text(bound)} in each"
    if unclear := next((row for row in rows if row.probability is None), None):
        return unknown("dropout probability", required, f"p of {unclear.name}")
    outside = [row for row in rows if not within(row.probability, bound)]
    values = ", ".join(
        f"p of {number(p)}" for p in dict.fromkeys(row.probability for row in rows) if p is not None
    )
    return check(
        "dropout probability",
        passed=not outside and (bool(rows) or ends(bound)[0] == 0),
        actual=(values or "no dropout") + _places(outside),
        required=required,
        fix=partial(fixes.with_dropout, "dropout probability", bound, outside),
        row=outside[0] if outside else None,
    )


def _skeleton(text: str, analysis: Analysis, fixes: Fixes) -> Check:
    parts = parse_skeleton(text)
    first = departure(analysis, parts)
    if first is None:
        actual = " ".join(place.part for place in reading_of(analysis, parts))
        return check("skeleton", passed=True, actual=actual, required=text, fix=str)
    expected = PART_NAMES[first.expected] if first.expected else "the end"
    if first.place is None:
        actual = f"ends after {plural(first.number - 1, 'place')}; expected {expected}"
    else:
        row = first.place.row
        actual = f"place {first.number} is {_description(row)}; expected {expected}"
    return check(
        "skeleton",
        passed=False,
        actual=actual,
        required=text,
        fix=partial(fixes.with_skeleton, "skeleton", parts, first),
        row=first.place.row if first.place else None,
    )


def _description(row: Row) -> str:
    """Return an operation with its window, its layer and its path in words."""
    window = f" {'x'.join(map(str, row.kernel))}" if row.kernel else ""
    if "Pool" in row.operation:
        window += f" on a map of {'x'.join(map(str, row.in_shape[1:]))}"
    place = row.definition or row.location
    names = ", ".join(dict.fromkeys(filter(None, [row.layer, row.name, str(place or "")])))
    return f"{row.operation}{window} ({names})"


def _places(rows: Sequence[Row]) -> str:
    """Return the layers of a module with their lines; nothing for the notation, which has none."""
    return f": {row_labels(rows)}" if any(row.location or row.definition for row in rows) else ""


def _map_size(least: int, analysis: Analysis) -> Check:
    row = map_row(analysis, least)
    last = map_row(analysis, 1)
    best = row or last
    sizes = "x".join(map(str, best.out_shape[1:])) if best else ""
    return check(
        "class-activation map",
        passed=row is not None,
        actual=f"{sizes}, of {row.name}" if row else f"{sizes or 'no map'}",
        required=f"at least {least}x{least}",
        fix=lambda: "use padding, fewer strides, or larger images, so that a convolution has such a map",
        row=last,
    )


def _active(analysis: Analysis, kind: LayerKind) -> list[Row]:
    rule = LAYER_KINDS[kind]
    return [row for row in rule.find(analysis.rows) if is_active(row) and rule.acts(row)]
