"""Which of the nets of a submission are its hand-in, and why."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from convsmith.grading.discovery import Candidate
from convsmith.grading.submissions import natural
from convsmith.text import join_first

# Names of a finished net, the most usual first.
_NAMES = ("net", "model", "network", "finalnet", "finalmodel")
_NUMBERED = re.compile(r"[A-Za-z]+_?\d+")
# The verdicts of a brief, whether a net passes those that need no training.
Passes = Callable[[Candidate], bool]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The nets to judge.

    Attributes:
        nets: Empty if none was chosen.
        reason: Why these: "the only net that fits".
        problem: Why none was chosen.
    """

    nets: tuple[Candidate, ...] = ()
    reason: str = ""
    problem: str = ""


def choose(
    candidates: Sequence[Candidate], *, several: bool, weights: Iterable[str], passes: Passes
) -> Choice:
    """Choose the nets to judge.

    Nets of equal structure are one. The evidence, in this order: the weights in the folder fit one net only;
    one net only is created and trained; one only passes the brief; one only has the name of a finished net.

    Args:
        candidates: Of the submission, in its order.
        several: Whether the brief asks for several nets, one for each step.
        weights: References of the nets that the submission's files of weights fit.
        passes: Whether a net passes the checks that need no training.
    """
    fitting = [each for each in candidates if each.fits]
    if not fitting:
        return _none(candidates)
    if several:
        return _steps(fitting)
    groups = _groups(fitting)
    if len(groups) == 1:
        return Choice(nets=(_best(groups[0]),), reason="the only net that fits")
    named = set(weights)
    rules: list[tuple[str, Callable[[Candidate], bool]]] = [
        ("the files of weights fit this net only", lambda each: each.name in named),
        ("the only net that is trained", lambda each: any(use.trained for use in each.uses)),
        ("the only net that is created", lambda each: bool(each.uses)),
        ("the only net that passes the brief", passes),
    ]
    rules += [(f"its name, {name}", partial(_is_named, name)) for name in _NAMES]
    for reason, rule in rules:
        kept = [group for group in groups if any(map(rule, group))]
        if len(kept) == 1:
            return Choice(nets=(_best([each for each in kept[0] if rule(each)]),), reason=reason)
        # Later evidence decides among those that the earlier one leaves.
        groups = kept or groups
    names = join_first((_best(group).name for group in groups), 8)
    return Choice(problem=f"{len(groups)} nets fit, and nothing says which is the hand-in: {names}")


def _groups(fitting: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group nets of equal structure, in the order of the first of each."""
    return list(_by(fitting, lambda each: each.structure).values())


def _best(group: Sequence[Candidate]) -> Candidate:
    """Return the net of a group to name: one that is used, in a Python file, near the top."""
    return min(
        group,
        key=lambda each: (
            not each.uses,
            each.reference.place.endswith(".ipynb"),
            each.reference.place.count("/"),
        ),
    )


def _is_named(name: str, candidate: Candidate) -> bool:
    return _plain(candidate) == name


def _plain(candidate: Candidate) -> str:
    return candidate.reference.name.casefold().replace("_", "")


def _steps(fitting: Sequence[Candidate]) -> Choice:
    """Choose one net for each step: those with numbers in their names, one a file, or else all that differ.

    Two steps may have one structure: then only their trainings differ.
    """
    numbered = [each for each in fitting if _NUMBERED.fullmatch(each.reference.name)]
    if len(named := _by(numbered, lambda each: each.reference.name)) > 1:
        return _ordered(named, "a step, by its name")
    # A notebook may hold a copy of the net of a Python file.
    files = [each for each in fitting if each.source and not each.reference.place.endswith(".ipynb")]
    known = {each.structure for each in files}
    files += [each for each in fitting if each.source and each.structure not in known]
    if len(placed := _by(files, lambda each: each.reference.place)) > 1:
        return _ordered(placed, "a step, by its file")
    return Choice(nets=tuple(map(_best, _groups(fitting))), reason="a step: all nets that fit")


def _by(candidates: Sequence[Candidate], key: Callable[[Candidate], str]) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = {}
    for each in candidates:
        groups.setdefault(key(each), []).append(each)
    return groups


def _ordered(groups: dict[str, list[Candidate]], reason: str) -> Choice:
    """Return one net of each group in the natural order of their names; the last of several in a file."""
    names = sorted(groups, key=natural)
    return Choice(nets=tuple(_best(groups[name][::-1]) for name in names), reason=reason)


def _none(candidates: Sequence[Candidate]) -> Choice:
    """Choose the net that comes nearest if none fits: the only one that runs, or that can be created."""
    rules: list[tuple[str, Callable[[Candidate], bool]]] = [
        ("no net fits; the only one that runs", lambda each: each.analysis is not None),
        ("no net fits; the only one that is trained", lambda each: any(use.trained for use in each.uses)),
        ("no net fits; its name", lambda each: _plain(each) in _NAMES),
        ("no net fits; the only one that can be created", lambda each: each.parameters is not None),
        ("the only net", lambda each: bool(each.name)),
    ]
    for reason, rule in rules:
        kept = [each for each in candidates if rule(each)]
        names = {(each.reference.name, each.structure) for each in kept}
        if len(names) == 1:
            return Choice(nets=(_best(kept),), reason=reason)
    if not candidates:
        return Choice(problem="no net was found: no class derives from torch.nn.Module")
    first = next((each for each in candidates if each.parameters is not None), candidates[-1])
    return Choice(problem=f"none of {len(candidates)} nets fits; {first.name}: {first.problem}")
