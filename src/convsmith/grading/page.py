"""A graded class as one self-contained HTML page: a table, shared nets, and a section for each submission.

All texts come from strangers. Jinja2 escapes them, and a content security policy allows only the script of
the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from convsmith.data.dataset import ImageDataset
from convsmith.grading.duplicates import Sharing
from convsmith.grading.record import EpochRecord, MistakeRecord, SubmissionRecord
from convsmith.grading.table import TableRow, rows_of, summary_line
from convsmith.reports.charts import curve, one
from convsmith.reports.html import asset, environment, markup, policy, stylesheet
from convsmith.reports.sheets import Sheet, sheet
from convsmith.reports.style import draw
from convsmith.runs.schema import EpochRow

# Of a class; a brief with hundreds of submissions has a curve for the first ones only.
_MOST_CURVES, _MOST_EPOCHS = 150, 200


@dataclass(frozen=True, kw_only=True)
class GradedClass:
    """A class for its page.

    Attributes:
        title: The name of its folder.
        brief: The name of the brief.
        description: The task in one sentence, if the brief has it.
        requirements: The fields of the brief that are set, as text.
        records: In the order of the table.
        sharings: Submissions that share a net.
        protection: What the sandbox protected against, one sentence each.
        notes: About the class as a whole.
        data: The images that weights were scored on.
        seconds: Of the whole grading.
    """

    title: str
    brief: str
    description: str = ""
    requirements: tuple[tuple[str, str], ...] = ()
    records: tuple[SubmissionRecord, ...]
    sharings: tuple[Sharing, ...] = ()
    protection: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    data: ImageDataset | None = None
    seconds: float = 0


def page_html(graded: GradedClass) -> str:
    """Render the page of a class; it needs no other file."""
    rows = rows_of(graded.records, graded.sharings)
    sprites = _Sprites.of(graded.records, graded.data)
    script = asset("report.js")
    names = list(graded.data.class_names) if graded.data else []
    return (
        environment()
        .get_template("grading.html.j2")
        .render(
            graded=graded,
            rows=rows,
            summary=summary_line(rows),
            anchors={row.name: f"s{number}" for number, row in enumerate(rows, start=1)},
            curves=_curves(rows),
            sprites=sprites,
            names=names,
            style=stylesheet(),
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
        )
    )


def _curves(rows: Sequence[TableRow]) -> Mapping[str, Markup]:
    """Draw the accuracies of each submission: of the training anew, or those that its log has."""
    drawn: dict[str, Markup] = {}
    for row in rows:
        epochs = next((step.training.epochs for step in row.record.steps if step.training), row.record.curve)
        if len(epochs) > 1 and len(drawn) < _MOST_CURVES:
            drawn[row.name] = markup(draw(one(curve(_points(epochs), "accuracy"), 2.2)))
    return drawn


def _points(epochs: Sequence[EpochRecord]) -> list[EpochRow]:
    """Return epochs as the chart of curves takes them."""
    return [
        EpochRow(epoch=each.epoch, train_accuracy=each.train, test_accuracy=each.test)
        for each in epochs[:_MOST_EPOCHS]
    ]


@dataclass(frozen=True, kw_only=True)
class _Sprites:
    """The misclassified images of the class on one sheet, each once."""

    sheet: Sheet | None
    numbers: Mapping[int, int]

    @classmethod
    def of(cls, records: Sequence[SubmissionRecord], data: ImageDataset | None) -> "_Sprites":
        indices = sorted({each.index for record in records for each in _mistakes(record)})
        if data is None:
            return cls(sheet=None, numbers={})
        indices = [index for index in indices if index < len(data.test)]
        if not indices:
            return cls(sheet=None, numbers={})
        images = np.asarray(data.test.images[np.array(indices)])
        return cls(sheet=sheet(list(images)), numbers={index: n for n, index in enumerate(indices)})

    def place(self, index: int) -> tuple[int, int] | None:
        """Return the column and row of an image; None for an index that a stranger made up."""
        number = self.numbers.get(index)
        return self.sheet.place(number) if self.sheet and number is not None else None


def _mistakes(record: SubmissionRecord) -> list[MistakeRecord]:
    return [each for step in record.steps if step.score for each in step.score.mistakes]
