"""A network judged by a brief."""

from convsmith.briefs.checks import Check, RunMetrics, judge
from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.models.untrained import RecipeModel
from convsmith.net.analysis import Analysis
from convsmith.recipes.schema import Recipe


def check(
    subject: Recipe | Analysis,
    *,
    brief: str | Brief | None = None,
    trained: RunMetrics | None = None,
) -> tuple[Check, ...]:
    """Judge a net by a brief.

    Args:
        subject: A recipe from `load_recipe`, or the numbers of a net from `summary`.
        brief: The name or file of a brief, or a brief; the recipe's own if left out.
        trained: A run's accuracy and calibration where they are known; else those checks are not applicable.

    Raises:
        RecipeError: No such brief, or the recipe's net does not fit its data.

    Example:
        >>> import convsmith as cs
        >>> sorted({check.verdict for check in cs.check(cs.load_recipe("digits"))})
        ['not applicable', 'pass']
        >>> analysis = cs.summary("C64 M2 / F10", (3, 32, 32))
        >>> checks = cs.check(analysis, brief="course-cifar10")
        >>> [check.title for check in checks if check.verdict == "pass"]
        ['parameters']
    """
    wanted = load_brief(brief) if isinstance(brief, str) else brief
    if isinstance(subject, Analysis):
        return judge(wanted or Brief(), subject, metrics=trained)
    return RecipeModel(subject).judge(wanted, trained)
