"""The search space: which candidates are allowed, decided by arithmetic without torch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.data.dataset import DatasetInfo
from convsmith.errors import ConvsmithError
from convsmith.nas.candidate import Candidate
from convsmith.nas.hyperparameters import Hyperparameter, hyperparameters_of
from convsmith.nas.mutations import MutableNet, scale_widths
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.net.notation import parse
from convsmith.net.spec import Net
from convsmith.recipes.fit import analyze_recipe, subject_of
from convsmith.recipes.loader import with_values
from convsmith.recipes.schema import Recipe

# Widths are multiples of 2 to 8: more steps of the bisection would not change them.
_BISECTION_STEPS = 9


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The candidates around a recipe that pass a brief.

    Attributes:
        recipe: The starting point.
        brief: The brief whose rules on the net and the augmentations every candidate must pass.
        info: Image shape and number of classes.
        max_macs: Limit of multiply-accumulates per image, which bounds the cost of a trial.
        hyperparameters: The numbers of the recipe that may change.
    """

    recipe: Recipe
    brief: Brief
    info: DatasetInfo
    max_macs: int
    hyperparameters: tuple[Hyperparameter, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hyperparameters", hyperparameters_of(self.recipe, self.info))

    @property
    def keep_first(self) -> bool:
        """Whether the first layer is fixed: a whitening layer is not learned."""
        return self.recipe.train.whitening

    def starting_point(self) -> Candidate:
        """Return the recipe as a candidate."""
        net = str(parse(self.recipe.notation.net))
        return Candidate(net=net, fields={each.key: each.start for each in self.hyperparameters})

    def recipe_of(self, candidate: Candidate) -> Recipe:
        """Return the complete recipe of a candidate.

        Raises:
            RecipeError: The values do not fit together.
        """
        integers = {each.key for each in self.hyperparameters if each.integer}
        values: dict[str, Any] = {
            key: int(value) if key in integers else value for key, value in candidate.fields.items()
        }
        recipe = with_values(self.recipe, {"model.net": candidate.net, **values})
        return recipe.model_copy(update={"brief": self.brief})

    def violations(self, net: str) -> list[str]:
        """Return why a net, with the augmentations of the recipe, is not allowed; empty if it is allowed."""
        try:
            analysis = analyze_notation(net, self.info.image_shape, self.recipe.notation)
        except ConvsmithError as error:
            return [problem.what for problem in error.problems]
        # A trial has epochs of its own, and a search changes settings: rules on the training are for the end.
        subject = replace(subject_of(self.recipe, analysis), training=None)
        reasons = [
            f"{check.title}: found {check.actual}, required {check.required}"
            for check in judge(self.brief, subject)
            if check.verdict == "fail"
        ]
        if analysis.macs > self.max_macs:
            reasons.append(f"MACs per image: found {analysis.macs:,}, expected at most {self.max_macs:,}")
        return reasons

    def allows(self, candidate: Candidate) -> bool:
        """Return whether a candidate passes the brief and its recipe is valid."""
        if self.violations(candidate.net):
            return False
        try:
            analyze_recipe(self.recipe_of(candidate), self.info)
        except ConvsmithError:
            return False
        return True

    def analysis(self, candidate: Candidate) -> SpecAnalysis:
        """Return the analysis of an allowed candidate."""
        return analyze_notation(candidate.net, self.info.image_shape, self.recipe.notation)

    def fit_widths(self, net: Net, share: float = 1.0) -> Net | None:
        """Scale a net's widths by one factor to the largest net that is allowed.

        Args:
            net: The net to scale.
            share: Of the largest allowed number of parameters, from 0 to 1.

        Returns:
            The scaled net; None if no factor makes it pass the brief.
        """
        mutable = MutableNet.of(net, keep_first=self.keep_first)
        factor = largest_passing(lambda factor: not self.violations(str(scale_widths(mutable, factor))))
        if factor is None:
            return None
        best = scale_widths(mutable, factor * share**0.5)
        return None if self.violations(str(best)) else best


def largest_passing(passes: Callable[[float], bool], low: float = 0.1, high: float = 4.0) -> float | None:
    """Return the largest factor that passes, by bisection of its logarithm; None if `low` fails.

    >>> largest_passing(lambda factor: factor < 1) > 0.98, largest_passing(lambda factor: False)
    (True, None)
    """
    if not passes(low):
        return None
    for _ in range(_BISECTION_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
