"""Briefs that no net or training can meet: two fields that contradict each other."""

from collections.abc import Iterator

from convsmith.briefs.bounds import bound_text, ends
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.skeleton import PART_KINDS, PART_NAMES, parse_skeleton
from convsmith.text import plural


def contradiction(brief: Requirements) -> str:
    """Return the first two fields that contradict each other, and why; empty if none do.

    Example:
        >>> contradiction(Requirements(min_parameters=9_000, max_parameters=8_000))
        'min_parameters = 9,000 and max_parameters = 8,000 contradict each other: no number is within both'
    """
    for first, second, reason in _contradictions(brief):
        return f"{first} and {second} contradict each other: {reason}"
    return ""


def _contradictions(brief: Requirements) -> Iterator[tuple[str, str, str]]:
    least, most = brief.min_parameters, brief.max_parameters
    if least is not None and most is not None and least > most:
        yield f"min_parameters = {least:,}", f"max_parameters = {most:,}", "no number is within both"
    yield from _of_kinds(brief)
    yield from _of_norm_and_dropout(brief)
    if brief.skeleton is not None:
        yield from _of_skeleton(brief, brief.skeleton)
    yield from _of_epochs(brief)


def _of_kinds(brief: Requirements) -> Iterator[tuple[str, str, str]]:
    for rule in brief.require:
        if rule.least and set(rule.kinds) <= set(brief.forbid):
            yield f"require {rule.title}", f"forbid {', '.join(rule.kinds)}", "it cannot be both"
        for other in brief.require:
            if rule.kinds == other.kinds and other.most is not None and rule.least > other.most:
                yield (
                    f"require {rule.title}, {rule.requirement},",
                    f"require {other.title}, {other.requirement},",
                    "no number is within both",
                )


def _of_norm_and_dropout(brief: Requirements) -> Iterator[tuple[str, str, str]]:
    required = {rule.kinds[0] for rule in brief.require if len(rule.kinds) == 1 and rule.least}
    if brief.norm is not None:
        own = f"{brief.norm}-norm"
        for kind in sorted(required):
            if kind.endswith("-norm") and kind != own:
                yield f'norm = "{brief.norm}"', f"require {kind}", "every norm must be of one kind"
        if own in brief.forbid:
            yield f'norm = "{brief.norm}"', f"forbid {own}", "it cannot be both"
    if brief.dropout is not None:
        low, high = ends(brief.dropout)
        if low > 0 and "dropout" in brief.forbid:
            yield f"dropout = {bound_text(brief.dropout)}", "forbid dropout", "it cannot be both"
        if high == 0 and "dropout" in required:
            yield "dropout = 0", "require dropout", "a dropout with probability 0 has no effect"


def _of_skeleton(brief: Requirements, text: str) -> Iterator[tuple[str, str, str]]:
    parts = parse_skeleton(text)
    for part, kind in PART_KINDS.items():
        if part in parts and kind in brief.forbid:
            yield f'skeleton = "{text}"', f"forbid {kind}", f"the skeleton has {PART_NAMES[part]}"
        for rule in brief.require:
            count = parts.count(part)
            # A 1x1 convolution counts as a convolution too, and a fully connected layer may replace one.
            exact = part not in {"1x1", "F"}
            if exact and rule.kinds == (kind,) and rule.most is not None and count > rule.most:
                yield (
                    f'skeleton = "{text}"',
                    f"require {kind}, {rule.requirement},",
                    f"the skeleton has {plural(count, 'such layer')}",
                )


def _of_epochs(brief: Requirements) -> Iterator[tuple[str, str, str]]:
    last, rule = brief.each_of_last, brief.train_accuracy
    if last is not None and brief.min_accuracy is None:
        yield (
            f"each_of_last = {last}",
            "a missing min_accuracy",
            "write the accuracy that each of these epochs must reach",
        )
    if brief.epochs is None:
        return
    allowed = f"epochs = {bound_text(brief.epochs)}"
    if last is not None and last > ends(brief.epochs)[1]:
        yield f"each_of_last = {last}", allowed, "the training has fewer epochs"
    if rule is not None and rule.epoch > ends(brief.epochs)[1]:
        yield f"train_accuracy after epoch {rule.epoch}", allowed, "the training has fewer epochs"
