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
from convsmith.net.tables import course_summary, receptive_field_table
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
class RunSummary:
    """The results of a run, for README and notebook.

    Attributes:
        data: data.json of the run; `environment` is its environment.json.
        metrics: On the test set, by class and in total.
        epochs: The rows of metrics.csv.
        plots: The names of the pictures.
    """

    recipe: Recipe
    analysis: Analysis
    plan: Plan
    data: DataRecord
    metrics: Metrics
    train: SplitMetrics
    test: SplitMetrics
    checks: tuple[Check, ...]
    epochs: tuple[EpochRow, ...]
    log: str
    environment: Environment
    plots: tuple[str, ...]


def readme(values: dict[str, Any], summary: RunSummary) -> str:
    """The page as Markdown. Names that come from the user are escaped.

    Args:
        values: The context of the code.
        summary: The results of the run.
    """
    templates = environment()
    templates.filters.update(md=escape_markdown, percent=percent, fenced=fenced)
    text = templates.get_template("README.md.j2").render(
        **values,
        run=summary,
        layer_table=course_summary(summary.analysis),
        receptive_field_table=receptive_field_table(summary.analysis),
        totals=summary.analysis.totals_line(),
        blocks=descriptions.blocks(summary.plan, summary.analysis),
        after_a_layer=descriptions.after_a_layer(summary.recipe),
        transforms=[(each.title, each.details) for each in summary.recipe.augment.transforms],
        strategy=descriptions.strategy(summary.recipe),
        differences=descriptions.differences(summary.recipe),
        titles=TITLES,
        notation=str(summary.plan.net),
    )
    return re.sub(r"\n{3,}", "\n\n", text)
