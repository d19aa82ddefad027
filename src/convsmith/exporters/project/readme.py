"""The README of a project, with the sections that the courses require."""

import re
from dataclasses import dataclass
from typing import Any

from convsmith.briefs.checks import Check
from convsmith.evaluation.metrics import Metrics, listed_classes
from convsmith.exporters.project import descriptions
from convsmith.exporters.project.code import environment
from convsmith.net.analysis import Analysis
from convsmith.net.plan import Plan
from convsmith.net.tables import course_summary, receptive_field_table
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord, Environment, EpochRow, StartRecord, WeightsRecord
from convsmith.text import escape_markdown, fenced, percent, plural
from convsmith.training.metrics import SplitMetrics

TITLES = {
    "architecture": "The layers of the net",
    "confusion": "Confusion matrix",
    "explanation": "Class-activation and occlusion maps",
    "receptive_field": "The effective receptive field: the gradient of the centre of the last map",
}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The results of a run, for README and notebook.

    Attributes:
        plan: Of a net in the notation; None for a module.
        data: data.json of the run; `environment` is its environment.json.
        metrics: On the test set, by class and in total.
        epochs: The rows of metrics.csv.
        plots: The paths of the pictures in the project, by name.
        weights: Where weights come from that were trained elsewhere; then there is no training.
        start: The weights that the training began with; None for initial ones.
    """

    recipe: Recipe
    analysis: Analysis
    plan: Plan | None
    data: DataRecord
    metrics: Metrics
    train: SplitMetrics
    test: SplitMetrics
    checks: tuple[Check, ...]
    epochs: tuple[EpochRow, ...]
    log: str
    environment: Environment
    plots: dict[str, str]
    weights: WeightsRecord | None = None
    start: StartRecord | None = None


def readme(values: dict[str, Any], summary: RunSummary) -> str:
    """Return the README in Markdown; names from the user are escaped.

    Args:
        values: The template context, from `code.template_context`.
        summary: The results of the run.
    """
    templates = environment()
    templates.filters.update(md=escape_markdown, percent=percent, fenced=fenced, plural=plural)
    text = templates.get_template("README.md.j2").render(
        **values,
        run=summary,
        layer_table=course_summary(summary.analysis),
        receptive_field_table=receptive_field_table(summary.analysis),
        listed=listed_classes(summary.metrics),
        totals=summary.analysis.totals_line(),
        blocks=descriptions.blocks(summary.plan, summary.analysis) if summary.plan else [],
        net_parts=[] if summary.plan else descriptions.parts(summary.analysis),
        after_a_convolution=descriptions.after_a_convolution(summary.recipe),
        transforms=[(each.title, each.details) for each in summary.recipe.augment.transforms],
        strategy=descriptions.strategy(summary.recipe),
        differences=descriptions.differences(
            summary.recipe, summary.analysis, bf16_off_cpu=values["bf16_off_cpu"]
        ),
        titles=TITLES,
        notation=str(summary.plan.net) if summary.plan else "",
    )
    return re.sub(r"\n{3,}", "\n\n", text)
