"""A candidate of a search, and whether it may be trained: judged by arithmetic, without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convsmith.briefs.checks import judge
from convsmith.briefs.schema import Brief
from convsmith.data.dataset import Outline
from convsmith.errors import ConvsmithError
from convsmith.nas.mutations import Body, scaled
from convsmith.nas.search_space import Field, fields_of
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.net.notation import parse
from convsmith.net.spec import Net
from convsmith.recipes.fit import fitted
from convsmith.recipes.loader import changed
from convsmith.recipes.schema import Recipe

# Steps of bisection: widths are multiples of 2 to 8, so that more would not change them.
_HALVINGS = 9


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A net and training fields, and where they come from.

    Attributes:
        net: In the notation.
        fields: Values by key, those of `fields_of`.
        parent: The trial that it was changed from; None for the starting point.
        changes: What was changed, in words.
    """

    net: str
    fields: Mapping[str, float]
    parent: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, float], ...]]:
        """Equal for candidates that are trained alike."""
        return self.net, tuple(sorted(self.fields.items()))


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where a search looks: around a recipe, under a brief.

    Attributes:
        recipe: The starting point.
        brief: What every net must fulfil.
        outline: Of the images.
        max_macs: Multiply-accumulates an image that no candidate goes beyond, so that none eats the time.
        fields: Of the training, that may change.
    """

    recipe: Recipe
    brief: Brief
    outline: Outline
    max_macs: int
    fields: tuple[Field, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", fields_of(self.recipe, self.outline))

    @property
    def keep_first(self) -> bool:
        """Whether the first layer is not learned, and stays as it is."""
        return self.recipe.train.whitening

    def start(self) -> Candidate:
        """The starting point as it is written."""
        net = str(parse(self.recipe.model.net))
        return Candidate(net=net, fields={each.key: each.start for each in self.fields})

    def recipe_of(self, candidate: Candidate) -> Recipe:
        """The whole recipe of a candidate.

        Raises:
            RecipeError: The values do not fit together.
        """
        whole = {each.key for each in self.fields if each.whole}
        values: dict[str, Any] = {
            key: int(value) if key in whole else value for key, value in candidate.fields.items()
        }
        recipe = changed(self.recipe, {"model.net": candidate.net, **values})
        return recipe.model_copy(update={"brief": self.brief})

    def failures(self, net: str) -> list[str]:
        """Why a net may not be trained; nothing where it may."""
        try:
            analysis = analyze_notation(net, self.outline.image_shape, self.recipe.model)
        except ConvsmithError as error:
            return [problem.what for problem in error.problems]
        names = tuple(transform.name for transform in self.recipe.augment.transforms)
        failed = [
            f"{check.title}: {check.actual}, required: {check.required}"
            for check in judge(self.brief, analysis, augmentations=names)
            if check.verdict == "fail"
        ]
        if analysis.macs > self.max_macs:
            failed.append(f"MACs an image: {analysis.macs:,}, at most {self.max_macs:,} are searched")
        return failed

    def admits(self, candidate: Candidate) -> bool:
        """Whether a candidate may be trained."""
        if self.failures(candidate.net):
            return False
        try:
            fitted(self.recipe_of(candidate), self.outline)
        except ConvsmithError:
            return False
        return True

    def analysis(self, candidate: Candidate) -> SpecAnalysis:
        """The numbers of a candidate that is admitted."""
        return analyze_notation(candidate.net, self.outline.image_shape, self.recipe.model)

    def fit(self, net: Net, target: float = 1.0) -> Net | None:
        """A net's widths scaled so that it is as large as it may be, or a share of that.

        Args:
            net: Whose widths are changed by one factor.
            target: Of the largest size that the brief admits, from 0 to 1.

        Returns:
            None where no factor makes the brief pass.
        """
        body = Body.of(net, keep_first=self.keep_first)
        factor = largest(lambda factor: not self.failures(str(scaled(body, factor))))
        if factor is None:
            return None
        best = scaled(body, factor * target**0.5)
        return None if self.failures(str(best)) else best


def largest(passes: Callable[[float], bool], low: float = 0.1, high: float = 4.0) -> float | None:
    """The largest factor that passes, by bisection on its logarithm; None where the least does not.

    >>> largest(lambda factor: factor < 1) > 0.98, largest(lambda factor: False)
    (True, None)
    """
    if not passes(low):
        return None
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low
