"""Propose candidates by evolution: mutate one of the best of the population.

Regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search", arXiv
1802.01548) without ageing: parents are selected by tournament and mutated; there is no crossover.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from convsmith.errors import RecipeError
from convsmith.nas.candidate import Candidate
from convsmith.nas.mutations import mutate
from convsmith.nas.pareto import ParetoPoint, pareto_front
from convsmith.nas.search_space import SearchSpace
from convsmith.net.notation import parse

_TOURNAMENT_SIZE = 4
# Probability that the parent is drawn from the Pareto front instead, so that small nets have offspring too.
_FROM_FRONT = 0.25
# Probability that widths are scaled near the largest that the brief allows.
_FILL_BUDGET = 0.5
_MAX_ATTEMPTS = 400
# Probability of each further mutation, and the largest number of mutations.
_ONE_MORE, _MAX_MUTATIONS = 0.4, 4
_MUTATE_HYPERPARAMETER = 0.35


@dataclass(frozen=True, kw_only=True)
class EvaluatedCandidate:
    """A member of the population: a candidate and its result at its last rung."""

    candidate: Candidate
    point: ParetoPoint


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate, and the number of candidates that were rejected before it."""

    candidate: Candidate
    rejected: int


def first_candidate(space: SearchSpace, seed: int) -> Proposal:
    """Return the starting point, or a net near it if the brief does not allow it.

    Raises:
        RecipeError: No net near it is allowed.
    """
    start = space.starting_point()
    if space.allows(start):
        return Proposal(candidate=start, rejected=0)
    reasons = space.violations(start.net)
    rejected = 1
    smaller = space.fit_widths(parse(start.net))
    if smaller is not None:
        scaled = replace(start, net=str(smaller), changes=("widths scaled to fit the brief",))
        if space.allows(scaled):
            return Proposal(candidate=scaled, rejected=rejected)
    random = Random(f"first {seed}")  # noqa: S311 - not cryptographic
    net = start.net
    for attempt in range(_MAX_ATTEMPTS):
        if attempt % 8 == 0:
            net = start.net
        mutant = mutate(parse(net), random, keep_first=space.keep_first)
        if mutant is None:
            continue
        net = str(mutant[0])
        child = replace(start, net=net, changes=("mutated to fit the brief",))
        if space.allows(child):
            return Proposal(candidate=child, rejected=rejected)
        rejected += 1
    raise RecipeError(
        f"neither the starting point nor any of {rejected:,} nets near it passes the brief",
        where=space.recipe.name,
        context="\n".join(reasons),
        fix="start from a recipe that passes: `convsmith check RECIPE --brief BRIEF` lists what to change",
    )


def next_candidate(
    space: SearchSpace,
    population: Sequence[EvaluatedCandidate],
    candidates: Sequence[Candidate],
    random: Random,
) -> Proposal:
    """Propose a new candidate that is allowed.

    Args:
        space: The search space.
        population: The candidates that have reached a rung.
        candidates: All candidates so far, the starting point first; none is proposed twice.
        random: Equal generators give equal proposals.

    Raises:
        RecipeError: No new candidate was found.
    """
    identities = {each.identity for each in candidates}
    rejected = 0
    for _ in range(_MAX_ATTEMPTS):
        parent, number = _select_parent(population, random) if population else (candidates[0], 0)
        child = _mutate(space, parent, number, random)
        if child is None or not space.allows(child):
            rejected += 1
        elif child.identity not in identities:
            return Proposal(candidate=child, rejected=rejected)
    raise RecipeError(
        f"found no new net that passes the brief in {_MAX_ATTEMPTS} attempts",
        where=space.recipe.name,
        fix="relax the brief, or start from a recipe that is further from its limits",
    )


def _select_parent(population: Sequence[EvaluatedCandidate], random: Random) -> tuple[Candidate, int]:
    """Select the best of a random sample or a random member of the Pareto front."""
    sample = random.choices(population, k=_TOURNAMENT_SIZE)
    if random.random() < _FROM_FRONT:
        last_rung = max(each.point.epochs for each in population)
        front = {
            point.number
            for point in pareto_front([each.point for each in population if each.point.epochs == last_rung])
        }
        sample = [random.choice([each for each in population if each.point.number in front])]
    # A trial at a higher rung was better at the rung before.
    parent = max(sample, key=lambda each: (each.point.epochs, each.point.accuracy, -each.point.number))
    return parent.candidate, parent.point.number


def _mutate(space: SearchSpace, parent: Candidate, number: int, random: Random) -> Candidate | None:
    """Mutate net and hyperparameters; None if the widths cannot be scaled to the budget."""
    net, fields, changes = parse(parent.net), dict(parent.fields), list[str]()
    while not changes or (len(changes) < _MAX_MUTATIONS and random.random() < _ONE_MORE):
        if space.hyperparameters and random.random() < _MUTATE_HYPERPARAMETER:
            each = random.choice(space.hyperparameters)
            value = each.perturb(fields[each.key], random)
            # At the end of its range it may not change.
            if value != fields[each.key]:
                fields[each.key] = value
                changes.append(f"{each.key}={value:g}")
        else:
            mutant = mutate(net, random, keep_first=space.keep_first)
            if mutant is None:
                continue
            net = mutant[0]
            changes.append(mutant[1])
    if str(net) != parent.net and (random.random() < _FILL_BUDGET or space.violations(str(net))):
        scaled = space.fit_widths(net, share=random.uniform(0.85, 1.0))
        if scaled is None:
            return None
        net = scaled
        changes.append("widths scaled to the budget")
    return Candidate(net=str(net), fields=fields, parent=number, changes=tuple(changes))
