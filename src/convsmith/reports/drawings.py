"""The charts of a report. Each is drawn once, as SVG that the page and the files of the README share."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from convsmith.evaluation.metrics import Metrics
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.evaluation.schema import Robustness
from convsmith.net.analysis import Analysis
from convsmith.reports import charts
from convsmith.reports.diagram import diagram
from convsmith.reports.page import Picture, save
from convsmith.reports.receptive_field import energy_curve, field_map
from convsmith.reports.style import Drawing, draw

# The pictures of the README: the title, and the charts in it, whose names are those of their files.
PICTURES = (
    ("Loss, accuracy and learning rate", ("loss", "log_loss", "accuracy", "learning_rate")),
    ("Accuracy of each class", ("class_accuracy",)),
    ("Confusion matrix", ("confusion",)),
    ("Confidence", ("reliability", "risk")),
    ("Robustness", ("robustness",)),
    ("Network", ("architecture",)),
    ("Effective receptive field", ("receptive_field", "energy")),
)
GALLERIES = ("examples", "augmented", "predictions", "misclassified", "explanation")
# PNG files of version 0.1.0 had the names of charts and galleries, and these.
_FORMER = ("curves", "confidence")


def draw_charts(
    metrics: Metrics,
    history: charts.History,
    analysis: Analysis,
    robustness: Robustness | None,
    field: EffectiveReceptiveField | None,
    *,
    selected: int | None = None,
) -> dict[str, Drawing]:
    """Draw the charts of a run, without those that have no data.

    Args:
        metrics: Of the test images.
        history: The rows of metrics.csv.
        analysis: Of the net.
        robustness: If it was measured.
        field: If it was measured.
        selected: The epoch whose weights the run has, if it was selected.
    """
    drawn = _figures(metrics, history, analysis, robustness, field, selected=selected)
    return {name: draw(figure) for name, figure in drawn}


def _figures(
    metrics: Metrics,
    history: charts.History,
    analysis: Analysis,
    robustness: Robustness | None,
    field: EffectiveReceptiveField | None,
    *,
    selected: int | None,
) -> Iterator[tuple[str, Figure]]:
    one, classes, names = charts.one, metrics.classes, metrics.evaluated
    if history:
        yield "loss", one(charts.curve(history, "loss", selected=selected, evaluated=names))
        yield "log_loss", one(charts.curve(history, "loss", log=True, selected=selected, evaluated=names))
        yield "accuracy", one(charts.curve(history, "accuracy", selected=selected, evaluated=names))
        if any(row.lr for row in history):
            yield "learning_rate", one(charts.learning_rate(history))
    class_accuracy = charts.class_accuracy(classes, metrics.accuracy)
    yield "class_accuracy", one(class_accuracy, charts.class_accuracy_height(classes))
    if metrics.confusion is not None:
        yield "confusion", one(charts.confusion(metrics.confusion, classes), charts.PAGE_WIDTH)
    yield "reliability", one(charts.reliability(metrics.calibration))
    yield "risk", one(charts.risk(metrics.risk_coverage))
    if robustness:
        yield "robustness", one(charts.robustness(robustness), 3.6)
    yield "architecture", diagram(analysis)
    if field:
        yield "receptive_field", one(field_map(field), charts.PAGE_WIDTH)
        yield "energy", one(energy_curve(field))


def write_pictures(drawings: Mapping[str, Drawing], folder: Path) -> list[Picture]:
    """Write the charts as files; return the pictures of the README."""
    return [
        save(title, {name: drawings[name] for name in names if name in drawings}, folder)
        for title, names in PICTURES
        if any(name in drawings for name in names)
    ]


def remove_old_plots(folder: Path) -> None:
    """Delete the charts and galleries of an earlier report, of any version; other files stay."""
    charts = [name for _, names in PICTURES for name in names]
    for name in (*charts, *GALLERIES, *_FORMER):
        for suffix in ("svg", "png"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)
