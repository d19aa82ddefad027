"""The folds of a training set as one self-contained page: metrics of each and of all, likely label errors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tomli_w
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from convsmith.data.dataset import FoldedData
from convsmith.evaluation.metrics import Metrics, listed_classes
from convsmith.evaluation.out_of_fold import (
    FoldMetrics,
    LocatedLabelError,
    OutOfFoldLabelErrors,
    OutOfFoldResults,
)
from convsmith.evaluation.predictions import Predictions
from convsmith.recipes.schema import Recipe
from convsmith.reports import charts
from convsmith.reports.charts import Draw, one
from convsmith.reports.html import asset, axis_low, environment, markup, policy, stylesheet
from convsmith.reports.sheets import LARGEST_SIDE, Sheet, sheet
from convsmith.reports.style import BLUE, INK, ORANGE, Drawing, draw
from convsmith.text import format_duration

# Label errors with a picture, within a budget of pixels in bytes, and label errors in the table of the page.
MOST_PICTURES, FEWEST_PICTURES, PICTURE_BYTES = 240, 48, 4_000_000
MOST_LISTED = 500


@dataclass(frozen=True, kw_only=True)
class FoldsPage:
    """All data of the page.

    Attributes:
        recipe: Of all folds.
        net: In the notation, or the module.
        data: The images that the folds divide.
        results: The metrics of each fold and of all.
        metrics: Of all folds together.
        predictions: Of each image.
        label_errors: None if they were not searched.
        no_label_errors: Why they were not; else empty.
    """

    recipe: Recipe
    net: str
    data: FoldedData
    results: OutOfFoldResults
    metrics: Metrics
    predictions: Predictions
    label_errors: OutOfFoldLabelErrors | None
    no_label_errors: str

    @property
    def seconds(self) -> float:
        """Of all trainings."""
        return sum(each.seconds for each in self.results.folds)


def html(page: FoldsPage) -> str:
    """Draw the charts, and render the page."""
    script = asset("report.js")
    shown = _pictured(page)
    drawn = draw_charts(page)
    return (
        environment()
        .get_template("folds.html.j2")
        .render(
            page=page,
            metrics=page.metrics,
            results=page.results,
            shown=shown,
            sheet=_sheet(page, shown),
            listed=page.label_errors.images[:MOST_LISTED] if page.label_errors else (),
            labels=sorted({each.label for each in shown}),
            predicted=sorted({each.predicted for each in shown}),
            losses=page.predictions.losses,
            time=format_duration(page.seconds),
            recipe_toml=tomli_w.dumps(page.recipe.table()),
            listed_classes=listed_classes(page.metrics),
            axis_low=axis_low(page.metrics.interval.low),
            charts={name: markup(chart) for name, chart in drawn.items()},
            style=stylesheet(),
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
        )
    )


def draw_charts(page: FoldsPage) -> Mapping[str, Drawing]:
    """Draw the accuracy of each fold, that of each class, the confusion matrix, and the confidence."""
    metrics, classes = page.metrics, page.metrics.classes
    figures = {
        "folds": one(fold_accuracies(page.results.folds, metrics.accuracy), _fold_height(page)),
        "class_accuracy": one(
            charts.class_accuracy(classes, metrics.accuracy), charts.class_accuracy_height(classes)
        ),
    }
    if metrics.confusion is not None:
        figures["confusion"] = one(charts.confusion(metrics.confusion, classes), charts.PAGE_WIDTH)
    figures["reliability"] = one(charts.reliability(metrics.calibration))
    figures["risk"] = one(charts.risk(metrics.risk_coverage))
    return {name: draw(figure) for name, figure in figures.items()}


def fold_accuracies(folds: tuple[FoldMetrics, ...], pooled: float) -> Draw:
    """Draw the accuracy of each fold with its 95 % interval, and that of all folds as a line."""

    def draw(ax: Axes) -> None:
        for place, fold in enumerate(reversed(folds)):
            low, high = fold.accuracy_95
            ax.plot([low, high], [place, place], color=BLUE, linewidth=2.5, solid_capstyle="butt")
            ax.plot([fold.accuracy], [place], color=BLUE, marker="o", markersize=6)
            ax.annotate(
                f"{100 * fold.accuracy:.2f} %",
                (high, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=8.5,
            )
        low, high = min(each.accuracy_95[0] for each in folds), max(each.accuracy_95[1] for each in folds)
        room = max(high - low, 0.005)
        ax.set_xlim(max(low - 0.1 * room, 0), high + 0.3 * room)
        ax.set_ylim(-0.7, len(folds) - 0.3)
        ax.axvline(pooled, color=ORANGE, linewidth=1.5)
        top = ax.get_xaxis_transform()
        label = f"all folds {pooled:.2%}"
        ax.text(pooled, 1.01, label, color=ORANGE, va="bottom", ha="center", fontsize=9, transform=top)
        ax.set_yticks(range(len(folds)), [f"fold {each.number}" for each in reversed(folds)])
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1 if room < 0.05 else 0))
        ax.set_xlabel("accuracy on the held-out fold, with its 95 % interval", fontsize=8.5)
        ax.set_title("Accuracy of each fold", loc="left", fontsize=10, pad=18)

    return draw


def _fold_height(page: FoldsPage) -> float:
    return 1.2 + 0.3 * min(max(len(page.results.folds), 3), 60)


def _pictured(page: FoldsPage) -> tuple[LocatedLabelError, ...]:
    """Return the label errors that are shown, the most probable first."""
    if page.label_errors is None:
        return ()
    height, width, channels = page.data.images.images.shape[1:]
    each = min(height, LARGEST_SIDE) * min(width, LARGEST_SIDE) * channels
    count = int(np.clip(PICTURE_BYTES // each, FEWEST_PICTURES, MOST_PICTURES))
    return page.label_errors.images[:count]


def _sheet(page: FoldsPage, shown: tuple[LocatedLabelError, ...]) -> Sheet | None:
    images = page.data.images.images
    return sheet([np.asarray(images[each.index]) for each in shown]) if shown else None
