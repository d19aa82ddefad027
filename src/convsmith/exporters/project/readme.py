"""The README of a project, in the form that the courses ask for."""

import re
from dataclasses import dataclass
from typing import Any

from convsmith.briefs.checks import Check
from convsmith.evaluation.metrics import Metrics
from convsmith.exporters.project import descriptions
from convsmith.exporters.project.code import environment
from convsmith.net.analysis import Analysis
from convsmith.net.plan import Plan
from convsmith.net.tables import course_summary, receptive_field_table, totals_line
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord, Environment, EpochRow
from convsmith.text import escape_markdown, fenced, percent
from convsmith.training.metrics import SplitMetrics

TITLES = {
    "architecture": "The net, layer by layer",
    "confusion": "Confusion matrix",
    "explanation": "What the net looks at",
    "receptive_field": "The effective receptive field: how much each pixel matters to the map's centre",
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that a README and a notebook tell of a run.

    `data` and `environment` are its data.json and environment.json, `metrics` the rows of metrics.csv,
    `plots` the names of its pictures.
    """

    recipe: Recipe
    analysis: Analysis
    plan: Plan
    data: DataRecord
    facts: Metrics
    train: SplitMetrics
    test: SplitMetrics
    checks: tuple[Check, ...]
    metrics: tuple[EpochRow, ...]
    log: str
    environment: Environment
    plots: tuple[str, ...]


def readme(values: dict[str, Any], shown: Shown) -> str:
    """The page as Markdown. Names that come from the user are escaped.

    Args:
        values: The context of the code.
        shown: What the run came to.
    """
    templates = environment()
    templates.filters.update(md=escape_markdown, percent=percent, fenced=fenced)
    text = templates.get_template("README.md.j2").render(
        **values,
        shown=shown,
        summary=course_summary(shown.analysis),
        receptive_field_table=receptive_field_table(shown.analysis),
        totals=totals_line(shown.analysis),
        blocks=descriptions.blocks(shown.plan, shown.analysis),
        after_a_layer=descriptions.after_a_layer(shown.recipe),
        transforms=[(each.title, each.details) for each in shown.recipe.augment.transforms],
        strategy=descriptions.strategy(shown.recipe),
        differences=descriptions.differences(shown.recipe),
        titles=TITLES,
        notation=str(shown.plan.net),
    )
    return re.sub(r"\n{3,}", "\n\n", text)
