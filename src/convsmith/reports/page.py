"""A run's report: a README in the form that the courses ask for, ready to publish."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from convsmith.briefs.checks import Check
from convsmith.evaluation.metrics import Metrics
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.net.analysis import Analysis
from convsmith.text import escape_markdown, fenced, percent, printable_value
from convsmith.training.metrics import SplitMetrics


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a picture shows, its path as the page names it, and the file."""

    title: str
    path: str
    file: Path


@dataclass(frozen=True, kw_only=True)
class PageData:
    """All that the pages say; nothing is worked out while they are written.

    `metrics` are the rows of metrics.csv. `robustness`, `duplicates` and `label_errors` are the records of
    analyses that were asked for, else None; `field` is where the net looks, None where it was not measured.
    """

    name: str
    description: str
    net: str
    recipe_toml: str
    notes: tuple[str, ...]
    data: dict[str, Any]
    environment: dict[str, Any]
    summary: str
    receptive_field_table: str
    analysis: Analysis
    totals: str
    train: SplitMetrics
    test: SplitMetrics
    epochs: int
    seconds: float
    time: str
    metrics: Sequence[dict[str, float]]
    facts: Metrics
    checks: tuple[Check, ...]
    pictures: tuple[Picture, ...]
    log: str
    robustness: dict[str, Any] | None
    duplicates: dict[str, Any] | None
    label_errors: dict[str, Any] | None
    field: EffectiveReceptiveField | None


def markdown(facts: PageData) -> str:
    """The report as Markdown. Names that come from the user are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=False,  # noqa: S701 - Markdown; every foreign text goes through the filters below
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = escape_markdown
    environment.filters["percent"] = percent
    environment.filters["fenced"] = fenced
    return environment.get_template("README.md.j2").render(facts=facts)
