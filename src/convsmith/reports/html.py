"""The report of a run as one self-contained HTML page.

Jinja2 escapes all user text, and a content security policy allows only the script of the page.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from convsmith.evaluation.metrics import listed_classes
from convsmith.reports.page import PageData
from convsmith.reports.receptive_field import field_lines
from convsmith.reports.sheets import Sheet
from convsmith.reports.style import PIXELS, Drawing
from convsmith.text import percent, plural, printable_value

_TEMPLATES = resources.files("convsmith.reports") / "templates"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A misclassified image: its index in the split, class names, confidence in [0, 1], loss in nats."""

    index: int
    true: str
    predicted: str
    confidence: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class ExplainedImage:
    """A row of explanations: the indices of its images on the sheet, with their captions."""

    caption: str
    correct: bool
    pictures: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class PagePictures:
    """The small images of the page; None for absent sheets.

    `block_notes` has the caption of each block and the indices of its feature maps on the sheet;
    `example_notes` has the name of each class and the indices of its images.
    """

    mistakes: tuple[Mistake, ...]
    num_mistakes: int
    mistakes_sheet: Sheet | None
    explained: tuple[ExplainedImage, ...]
    explained_sheet: Sheet | None
    explained_title: str
    explained_note: str
    blocks: Sheet | None
    block_notes: tuple[tuple[str, tuple[int, ...]], ...]
    filters: Sheet | None
    filters_note: str
    augmented: Sheet | None
    augmented_names: tuple[str, ...]
    augmented_columns: int
    augmented_note: str
    examples: Sheet
    example_notes: tuple[tuple[str, tuple[int, ...]], ...]


def html(page: PageData, pictures: PagePictures, charts: Mapping[str, Drawing]) -> str:
    """Render the page.

    Args:
        page: Its data.
        pictures: Its small images.
        charts: The charts by name.
    """
    script = asset("report.js")
    table, _, remarks = page.receptive_field_table.partition("\n\n")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            pictures=pictures,
            charts={name: markup(chart) for name, chart in charts.items()},
            diagram_width=round(charts["architecture"].width * PIXELS),
            style=stylesheet(),
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
            rf_table=cells(table),
            rf_remarks=remarks,
            field_lines=field_lines(page.field) if page.field else [],
            axis_low=axis_low(page.metrics.interval.low),
            listed_classes=listed_classes(page.metrics),
            true_names=names_of(pictures.mistakes, "true"),
            predicted_names=names_of(pictures.mistakes, "predicted"),
        )
    )


def environment() -> jinja2.Environment:
    """Return the template environment of HTML pages, with autoescaping and the shared filters."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["percent"] = percent
    templates.filters["plural"] = plural
    return templates


def asset(name: str) -> str:
    """Read a text file that is embedded in every page."""
    return _TEMPLATES.joinpath(name).read_text("utf-8")


def stylesheet() -> Markup:
    """Return the style of every page."""
    return Markup(asset("colours.css") + asset("style.css"))  # noqa: S704 - our own files


def policy(script: str) -> str:
    """Return the content security policy of a page: no requests, and only this script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def cells(table: str) -> list[list[str]]:
    r"""Return the cells of a Markdown table, header first.

    >>> cells("| a | b |\n| - | -: |\n| 1 | 2 |")
    [['a', 'b'], ['1', '2']]
    """
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def markup(drawing: Drawing) -> Markup:
    """Return a drawing as an element of a page; the texts in it are escaped."""
    return Markup(drawing.inline())  # noqa: S704


def axis_low(low: float) -> float:
    """Return the start of the axis on which an interval that begins at `low` is readable.

    >>> axis_low(0.9783), axis_low(0.42), axis_low(0.0)
    (0.95, 0.25, 0.0)
    """
    return max(start for start in (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99) if start <= low)


def names_of(mistakes: Sequence[Mistake], which: str) -> list[str]:
    """Return the class names that a filter offers, in alphabetical order."""
    return sorted({getattr(each, which) for each in mistakes})
