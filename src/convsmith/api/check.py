"""Judge networks by briefs."""

from typing import TYPE_CHECKING

from convsmith.briefs.checks import judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.briefs.verdicts import Verdicts
from convsmith.models.untrained import RecipeModel
from convsmith.modules.access import CodeAccess
from convsmith.net.analysis import Analysis
from convsmith.recipes.instance import with_instance
from convsmith.recipes.schema import Recipe

if TYPE_CHECKING:
    from torch import nn


def check(
    subject: Recipe | Analysis,
    *,
    brief: str | Brief | None = None,
    trained: RunMetrics | None = None,
    module: "nn.Module | None" = None,
) -> Verdicts:
    """Judge a network by a brief.

    Args:
        subject: A recipe, or the analysis of a network from `summary`.
        brief: A brief, or its name or file; by default the recipe's brief.
        trained: Accuracy and calibration of a run. Without them, their checks are not applicable.
        module: An instance to judge instead of the recipe's net.

    Raises:
        RecipeError: The brief is unknown, or the network does not fit the recipe's data.

    Example:
        >>> import convsmith as cs
        >>> sorted({check.verdict for check in cs.check(cs.load_recipe("digits"))})
        ['not applicable', 'pass']
        >>> analysis = cs.summary("C64 M2 / F10", (3, 32, 32))
        >>> checks = cs.check(analysis, brief="course-cifar10")
        >>> [check.title for check in checks if check.verdict == "pass"]
        ['parameters']
    """
    if isinstance(brief, str):
        brief = load_brief(brief)
    if isinstance(subject, Analysis):
        return Verdicts(judge(brief or Brief(), Subject(analysis=subject, metrics=trained)))
    if module is not None:
        subject = with_instance(subject, module)
    return Verdicts(RecipeModel(subject, access=CodeAccess(module=module)).judge(brief, trained))
