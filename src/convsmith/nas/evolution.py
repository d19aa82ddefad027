"""Which candidate is tried next: one of the best so far, changed in a few things.

Regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search", arXiv
1802.01548) without its ageing: parents are drawn by tournament, children are mutated, nothing is crossed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from convsmith.errors import RecipeError
from convsmith.nas.candidate import Candidate, Space
from convsmith.nas.mutations import mutate
from convsmith.nas.pareto import Point, frontier
from convsmith.net.notation import parse

_TOURNAMENT = 4
# How often a parent is drawn from the whole frontier instead, so that small nets go on too.
_FROM_FRONTIER = 0.25
# How often a child's widths are brought near the most that the brief admits.
_FILL = 0.5
_ATTEMPTS = 400
# More than one thing is changed at once, the less often the more.
_ONE_MORE, _MOST_CHANGES = 0.4, 4


@dataclass(frozen=True, kw_only=True)
class EvaluatedCandidate:
    """A candidate that was trained, as far as it came."""

    candidate: Candidate
    point: Point


@dataclass(frozen=True, kw_only=True)
class Offspring:
    """A candidate, and how many were refused by the arithmetic before it."""

    candidate: Candidate
    refused: int


def first(space: Space, seed: int) -> Offspring:
    """The starting point; where the brief does not admit it, the first net near it that it does.

    Raises:
        RecipeError: Nothing near it fits.
    """
    start = space.start()
    if space.admits(start):
        return Offspring(candidate=start, refused=0)
    reasons = space.failures(start.net)
    refused = 1
    smaller = space.fit(parse(start.net))
    if smaller is not None:
        fitted = replace(start, net=str(smaller), changes=("widths scaled to fit the brief",))
        if space.admits(fitted):
            return Offspring(candidate=fitted, refused=refused)
    random = Random(f"first {seed}")  # noqa: S311 - no secret
    net = start.net
    for attempt in range(_ATTEMPTS):
        if attempt % 8 == 0:
            net = start.net
        change = mutate(parse(net), random, keep_first=space.keep_first)
        if change is None:
            continue
        net = str(change[0])
        child = replace(start, net=net, changes=("changed until it fits the brief",))
        if space.admits(child):
            return Offspring(candidate=child, refused=refused)
        refused += 1
    raise RecipeError(
        f"neither the starting point nor any of {refused:,} nets near it passes the brief",
        where=space.recipe.name,
        context="\n".join(reasons),
        fix="start from a recipe that passes: `convsmith check RECIPE --brief BRIEF` tells what to change",
    )


def next_one(
    space: Space, known: Sequence[EvaluatedCandidate], taken: Sequence[Candidate], random: Random
) -> Offspring:
    """A new candidate that the brief admits.

    Args:
        space: Where to look.
        known: What was trained so far, at least to the first rung.
        taken: All candidates so far, the starting point first; none is tried twice.
        random: Equal ones give equal candidates.

    Raises:
        RecipeError: Nothing new that fits was found.
    """
    identities = {each.identity for each in taken}
    refused = 0
    for _ in range(_ATTEMPTS):
        parent, number = _parent(known, random) if known else (taken[0], 0)
        child = _child(space, parent, number, random)
        if child is None or not space.admits(child):
            refused += 1
        elif child.identity not in identities:
            return Offspring(candidate=child, refused=refused)
    raise RecipeError(
        f"no new net that passes the brief was found in {_ATTEMPTS} attempts",
        where=space.recipe.name,
        fix="loosen the brief, or start from a recipe that is further from its limits",
    )


def _parent(known: Sequence[EvaluatedCandidate], random: Random) -> tuple[Candidate, int]:
    """One of the best: of a few drawn at random, or of the frontier."""
    drawn = random.choices(known, k=_TOURNAMENT)
    if random.random() < _FROM_FRONTIER:
        furthest = max(each.point.epochs for each in known)
        best = {
            point.number
            for point in frontier([each.point for each in known if each.point.epochs == furthest])
        }
        drawn = [random.choice([each for each in known if each.point.number in best])]
    # Who came further was better at the rung before.
    chosen = max(drawn, key=lambda each: (each.point.epochs, each.point.accuracy, -each.point.number))
    return chosen.candidate, chosen.point.number


def _child(space: Space, parent: Candidate, number: int, random: Random) -> Candidate | None:
    net, fields, changes = parse(parent.net), dict(parent.fields), list[str]()
    while not changes or (len(changes) < _MOST_CHANGES and random.random() < _ONE_MORE):
        if space.fields and random.random() < 0.35:
            each = random.choice(space.fields)
            moved = each.moved(fields[each.key], random)
            # At an end of its range it may not move.
            if moved != fields[each.key]:
                fields[each.key] = moved
                changes.append(f"{each.key}={moved:g}")
        else:
            change = mutate(net, random, keep_first=space.keep_first)
            if change is None:
                continue
            net = change[0]
            changes.append(change[1])
    if str(net) != parent.net and (random.random() < _FILL or space.failures(str(net))):
        fitted = space.fit(net, target=random.uniform(0.85, 1.0))
        if fitted is None:
            return None
        net = fitted
        changes.append("widths scaled to the budget")
    return Candidate(net=str(net), fields=fields, parent=number, changes=tuple(changes))
