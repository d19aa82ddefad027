"""The charts of a report. Each is drawn once, for the page as SVG and for the README as pixels."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from convsmith.evaluation.metrics import Metrics
from convsmith.evaluation.receptive_field import EffectiveReceptiveField
from convsmith.evaluation.schema import Robustness
from convsmith.net.analysis import Analysis
from convsmith.reports import charts
from convsmith.reports.diagram import diagram
from convsmith.reports.page import Picture
from convsmith.reports.receptive_field import energy_curve, field_map
from convsmith.reports.style import Drawing, draw, side_by_side, write_png

# The pictures of the README: name, title, and the charts in each.
PICTURES = (
    ("curves", "Loss, accuracy and learning rate", ("loss", "log_loss", "accuracy", "learning_rate")),
    ("class_accuracy", "Accuracy of each class", ("classes",)),
    ("confusion", "Confusion matrix", ("confusion",)),
    ("confidence", "Confidence", ("reliability", "risk")),
    ("robustness", "Robustness", ("robustness",)),
    ("architecture", "Network", ("architecture",)),
    ("receptive_field", "Effective receptive field", ("field", "energy")),
)


def figures(
    metrics: Metrics,
    history: charts.History,
    analysis: Analysis,
    robustness: Robustness | None,
    field: EffectiveReceptiveField | None,
) -> dict[str, Figure]:
    """Return the charts of a run by name, without those that have no data."""
    made = {
        "classes": charts.one(
            charts.class_accuracy(metrics.classes, metrics.accuracy),
            charts.class_accuracy_height(metrics.classes),
        ),
        "reliability": charts.one(charts.reliability(metrics.calibration)),
        "risk": charts.one(charts.risk(metrics.risk_coverage)),
        "architecture": diagram(analysis),
    }
    if metrics.confusion is not None:
        made["confusion"] = charts.one(
            charts.confusion(metrics.confusion, metrics.classes), charts.PAGE_WIDTH
        )
    if history:
        made |= {kind: charts.one(charts.curve(history, kind)) for kind in ("loss", "accuracy")}
        made["log_loss"] = charts.one(charts.curve(history, "loss", log=True))
        if any(row.lr for row in history):
            made["learning_rate"] = charts.one(charts.learning_rate(history))
    if field:
        made |= {
            "field": charts.one(field_map(field), charts.PAGE_WIDTH),
            "energy": charts.one(energy_curve(field)),
        }
    if robustness:
        made["robustness"] = charts.one(charts.robustness(robustness), 3.6)
    return made


def draw_all(figures: Mapping[str, Figure], substitutes: dict[str, str]) -> dict[str, Drawing]:
    """Draw each chart once. `substitutes` are for names that no font can draw."""
    return {name: draw(figure, substitutes) for name, figure in figures.items()}


def write_pictures(drawings: Mapping[str, Drawing], folder: Path) -> list[Picture]:
    """Write the pictures of the README from the drawn charts."""
    pictures = []
    for name, title, parts in PICTURES:
        if drawn := [drawings[part].pixels for part in parts if part in drawings]:
            file = write_png(side_by_side(drawn), folder / f"{name}.png")
            pictures.append(Picture(title=title, path=f"{folder.name}/{file.name}", file=file))
    return pictures
