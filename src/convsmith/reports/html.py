"""A run's report as one page that needs nothing else: no network, no server, no other file.

Whatever comes from the user is escaped by Jinja2, and a content policy lets only our own script run.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from convsmith.reports import charts
from convsmith.reports.diagram import diagram
from convsmith.reports.page import PageData
from convsmith.reports.receptive_field import energy_curve, field_lines, field_map
from convsmith.reports.sheets import Sheet
from convsmith.reports.style import svg
from convsmith.text import percent, printable_value

_TEMPLATES = resources.files("convsmith.reports") / "templates"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A misclassified image: its place in the split, names, confidence from 0 to 1, loss in nats."""

    index: int
    true: str
    predicted: str
    confidence: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class ExplainedImage:
    """A row of the explanation: where its pictures are on the sheet, and what they are called."""

    caption: str
    right: bool
    pictures: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class PagePictures:
    """The small images of the page; None where there are none.

    `block_notes` has what is said of each block, and the numbers of its maps on their sheet.
    """

    mistakes: tuple[Mistake, ...]
    num_mistakes: int
    mistakes_sheet: Sheet | None
    explained: tuple[ExplainedImage, ...]
    explained_sheet: Sheet | None
    explained_note: str
    blocks: Sheet | None
    block_notes: tuple[tuple[str, tuple[int, ...]], ...]
    filters: Sheet | None
    filters_note: str
    augmented: Sheet | None
    augmented_names: tuple[str, ...]
    augmented_columns: int
    augmented_note: str


def html(facts: PageData, pictures: PagePictures) -> str:
    """The page as text."""
    script = asset("report.js")
    table, _, remarks = facts.receptive_field_table.partition("\n\n")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            pictures=pictures,
            charts=_charts(facts),
            style=Markup(asset("style.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
            rf_table=cells(table),
            rf_remarks=remarks,
            field_lines=field_lines(facts.field) if facts.field else [],
            true_names=names_of(pictures.mistakes, "true"),
            predicted_names=names_of(pictures.mistakes, "predicted"),
        )
    )


def environment() -> jinja2.Environment:
    """Templates with autoescape, and the filters that both pages use."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = percent
    return made


def asset(name: str) -> str:
    """A file that stands inside every page, as text."""
    return _TEMPLATES.joinpath(name).read_text("utf-8")


def policy(script: str) -> str:
    """The content policy of a page: no requests at all, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def cells(table: str) -> list[list[str]]:
    r"""The cells of a Markdown table, its header first.

    >>> cells("| a | b |\n| - | -: |\n| 1 | 2 |")
    [['a', 'b'], ['1', '2']]
    """
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def drawing(figure: Any) -> Markup:
    """A figure as part of a page; matplotlib has escaped the texts in it."""
    return Markup(svg(figure))  # noqa: S704


def _charts(facts: PageData) -> dict[str, Markup]:
    found = facts.facts
    drawn = {
        "classes": charts.one(
            charts.class_accuracy(found.classes, found.accuracy), charts.class_accuracy_height(found.classes)
        ),
        "confusion": charts.one(charts.confusion(found), charts.PAGE_WIDTH),
        "reliability": charts.one(charts.reliability(found.calibration)),
        "risk": charts.one(charts.risk(found.risk_coverage)),
    }
    drawn["architecture"] = diagram(facts.analysis)
    if facts.metrics:
        drawn |= {kind: charts.one(charts.curve(facts.metrics, kind)) for kind in ("loss", "accuracy")}
    if facts.field:
        drawn["field"] = charts.one(field_map(facts.field), charts.PAGE_WIDTH)
        drawn["energy"] = charts.one(energy_curve(facts.field))
    if facts.robustness:
        drawn["robustness"] = charts.one(charts.robustness(facts.robustness), 3.6)
    return {name: drawing(figure) for name, figure in drawn.items()}


def names_of(mistakes: Sequence[Mistake], which: str) -> list[str]:
    """The classes that a filter offers, in alphabetical order."""
    return sorted({getattr(each, which) for each in mistakes})
