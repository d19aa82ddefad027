"""The charts of a run as matplotlib figures, one function per chart.

Lines and bars are labelled directly, without a legend. A chart of the HTML page fits the width of a phone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convsmith.evaluation.calibration import RiskCoverage
from convsmith.evaluation.metrics import normalize_rows
from convsmith.evaluation.predictions import Indices
from convsmith.evaluation.schema import Calibration, ClassMetrics, Robustness
from convsmith.reports.style import (
    BLUE,
    FRAME,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SERIES,
    SOFT,
    STYLE,
    add_heading,
    short,
)
from convsmith.runs.schema import EpochRow
from convsmith.training.lr_find import RangeTest

PAGE_WIDTH = 4.6
# Nearly white, for text on dark cells, whose colour is the same in both colour schemes of a page.
LIGHT = "#fefefe"
# Above these numbers of classes only the extremes get bars, and a matrix has no numbers or no names.
MOST_BARS, MOST_NUMBERS, MOST_NAMES = 30, 20, 60
Draw = Callable[[Axes], None]
History = Sequence[EpochRow]


def one(draw: Draw, height: float = 3.1) -> Figure:
    """Draw one chart for the page."""
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
        draw(figure.subplots())
    return figure


def side_by_side(
    draws: Sequence[Draw], title: str, subtitle: str = "", *, height: float = 4.2, width: float = 10
) -> Figure:
    """Draw charts side by side under a heading."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        for draw, ax in zip(draws, np.atleast_1d(figure.subplots(1, len(draws))), strict=True):
            draw(ax)
        add_heading(figure, title, subtitle)
    return figure


def values_of(metrics: History, split: str, kind: str) -> list[float]:
    """Return the loss or the accuracy of a split after each epoch; NaN if it was not measured."""
    values = (row.metric(split, kind) for row in metrics)
    return [np.nan if value is None else value for value in values]


def curve(metrics: History, kind: str) -> Draw:
    """Draw loss or accuracy by epoch, each line labelled at its end.

    Args:
        metrics: The rows of metrics.csv.
        kind: "loss" or "accuracy".
    """

    def draw(ax: Axes) -> None:
        epochs = [row.epoch for row in metrics]
        ends = []
        for name, colour in (("train", BLUE), ("validation", GREEN), ("test", ORANGE)):
            values = values_of(metrics, name, kind)
            if np.isfinite(values).any():
                marker = "o" if len(epochs) < 16 else None
                ax.plot(epochs, values, color=colour, marker=marker, markersize=4)
                ends.append((values[-1], name, colour))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        end_labels(ax, epochs[-1], ends, kind)
        ax.set_xlabel("epoch")
        if kind == "loss":
            ax.set_title("Loss (cross-entropy in nats, mean over images)", loc="left", fontsize=10)
        else:
            ax.set_title("Accuracy", loc="left", fontsize=10)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return draw


def class_accuracy(classes: Sequence[ClassMetrics], overall: float) -> Draw:
    """Draw one bar per class, the best on top, and the overall accuracy as a line.

    With many classes, only the worst and the best are shown.
    """
    ranked = sorted(
        (each for each in classes if each.accuracy is not None), key=lambda each: each.accuracy or 0
    )
    left_out = len(ranked) - MOST_BARS
    shown = ranked if left_out <= 0 else [*ranked[: MOST_BARS - 5], *ranked[-5:]]

    def draw(ax: Axes) -> None:
        values = [each.accuracy or 0.0 for each in shown]
        colours = [BLUE if value >= overall else GREY for value in values]
        ax.barh(range(len(shown)), values, color=colours, height=0.72)
        ax.set_yticks(range(len(shown)), [short(each.name) for each in shown], parse_math=False)
        # Where all classes are above 70 %, the axis starts higher; its label says so.
        low = 0.0 if min(values, default=0) < 0.7 else np.floor((min(values) - 0.02) * 20) / 20
        ax.set_xlim(low, 1.0 + (1 - low) * 0.12)
        for position, (each, value) in enumerate(zip(shown, values, strict=True)):
            inside = value - low > 0.36 * (1 - low)
            text = f"{value:.1%}  ({each.correct:,}/{each.total:,})"
            place = low + (1 - low) * 0.012 if inside else value + (1 - low) * 0.012
            ax.text(place, position, text, va="center", color="white" if inside else INK, fontsize=8.5)
        ax.axvline(overall, color=ORANGE, linewidth=1.5)
        place = (overall, len(shown) - 0.4)
        ax.text(*place, f" all classes {overall:.2%}", color=ORANGE, va="bottom", ha="center", fontsize=9)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        cut = " (the axis does not start at 0)" if low else ""
        many = f"; {left_out} classes between are not shown" if left_out > 0 else ""
        ax.set_xlabel(f"recall{cut}{many}", fontsize=8.5)

    return draw


def class_accuracy_height(classes: Sequence[ClassMetrics]) -> float:
    """Return the height of the chart of the classes in inches."""
    return 1.0 + 0.3 * min(max(len(classes), 3), MOST_BARS)


def confusion(matrix: Indices, classes: Sequence[ClassMetrics]) -> Draw:
    """Draw the confusion matrix as shares of each class: correct ones blue, mistakes orange."""
    rates = np.nan_to_num(normalize_rows(matrix))
    names = [short(each.name) for each in classes]

    def draw(ax: Axes) -> None:
        count = len(names)
        pixels = np.zeros((count, count, 4))
        pixels[...] = (*to_rgb(ORANGE), 0)
        # Mistakes are few: a square root lets them be seen.
        pixels[..., 3] = np.sqrt(rates)
        diagonal = np.arange(count)
        pixels[diagonal, diagonal, :3] = to_rgb(BLUE)
        pixels[diagonal, diagonal, 3] = rates.diagonal()
        ax.imshow(pixels, interpolation="nearest", aspect="equal")
        ax.grid(visible=False)
        ax.set(xlabel="predicted", ylabel="true class")
        if count <= MOST_NAMES:
            size = 8.5 if count <= MOST_NUMBERS else 5
            ax.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
            ax.set_yticks(range(count), names, fontsize=size, parse_math=False)
        if count <= MOST_NUMBERS:
            _numbers(ax, matrix, pixels[..., 3])

    return draw


def _numbers(ax: Axes, matrix: Any, strength: Any) -> None:
    size = 8 if len(matrix) <= 10 else 5
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = LIGHT if strength[row, column] > 0.6 else INK
        ax.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=size, color=colour)


def reliability(calibration: Calibration) -> Draw:
    """Draw accuracy by confidence; predictions on the diagonal are calibrated."""

    def draw(ax: Axes) -> None:
        bins = [
            each for each in calibration.bins if each.accuracy is not None and each.confidence is not None
        ]
        total = sum(each.count for each in bins)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
        ax.text(0.04, 0.11, "confidence = accuracy", color=SOFT, fontsize=8.5)
        sizes = [12 + 260 * each.count / total for each in bins]
        xs, ys = ([getattr(each, name) for each in bins] for name in ("confidence", "accuracy"))
        ax.plot(xs, ys, color=BLUE, linewidth=1.5)
        ax.scatter(xs, ys, s=sizes, color=BLUE, zorder=3)
        ax.set_title(f"Reliability: ECE {100 * calibration.ece:.2f} % (15 bins)", loc="left", fontsize=10)
        ax.set(xlabel="confidence of the prediction (dot size: share of images)", ylabel="accuracy")
        ax.set(xlim=(0, 1.03), ylim=(0, 1.05))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return draw


def risk(curve: RiskCoverage) -> Draw:
    """Draw the error rate among the most confident predictions, by their share of all images."""

    def draw(ax: Axes) -> None:
        places = np.unique(np.linspace(0, len(curve.risk) - 1, 400).astype(int))
        ax.fill_between(curve.coverage[places], curve.risk[places], color=ORANGE, alpha=0.15, linewidth=0)
        ax.plot(curve.coverage[places], curve.risk[places], color=ORANGE)
        last = curve.risk[-1]
        ax.text(0.99, last, f"all: {last:.2%} ", color=ORANGE, ha="right", va="bottom", fontsize=9)
        half = curve.risk_at(0.8)
        ax.plot([0.8], [half], marker="o", color=ORANGE, markersize=5)
        ax.annotate(
            f"most confident 80 %: {half:.2%}",
            (0.8, half),
            xytext=(-6, 8),
            textcoords="offset points",
            ha="right",
            color=ORANGE,
            fontsize=9,
        )
        ax.set_title(f"Risk by coverage: area {100 * curve.area:.2f} %", loc="left", fontsize=10)
        ax.set(xlabel="share of images, most confident first", ylabel="error rate among them")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, max(float(curve.risk[places].max()), 0.01) * 1.2)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if axis is ax.xaxis else 1))

    return draw


def robustness(record: Robustness) -> Draw:
    """Draw accuracy by strength of each corruption, each line labelled at its end.

    Args:
        record: As `workflow.robustness` writes it.
    """

    def draw(ax: Axes) -> None:
        clean = record.clean.accuracy
        ends = []
        for (name, levels), colour in zip(record.corruptions.items(), SERIES, strict=False):
            values = [clean, *(level.accuracy for level in levels)]
            ax.plot(range(len(values)), values, color=colour, marker="o", markersize=3.5)
            ends.append((values[-1], name, colour))
        end_labels(ax, 5, ends, "accuracy", decimals=0, room=0.62)
        ax.set_xticks(range(6), ["plain", *"12345"])
        ax.set_xlabel("strength of the corruption")
        ax.set_title("Accuracy on corrupted test images", loc="left", fontsize=10)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return draw


def range_test(result: RangeTest, recipe_lr: float) -> Draw:
    """Draw loss by learning rate, with the suggested rate and that of the recipe.

    Args:
        result: Of `training.lr_find`.
        recipe_lr: Learning rate of the recipe.
    """

    def draw(ax: Axes) -> None:
        ax.plot(result.rates, result.losses, color=BLUE)
        ax.set_xscale("log")
        low, high = float(result.losses.min()), float(np.quantile(result.losses, 0.9))
        ax.set_ylim(low - 0.08 * (high - low), high + 0.35 * (high - low))
        marks = [(recipe_lr, f"recipe {recipe_lr:.2g} ", GREY, "right")]
        if result.suggestion is not None:
            marks.append((result.suggestion, f" steepest fall {result.suggestion:.2g}", ORANGE, "left"))
        for rate, label, colour, side in marks:
            ax.axvline(rate, color=colour, linewidth=1.3)
            place = ax.get_xaxis_transform()
            ax.text(rate, 0.97, label, color=colour, fontsize=9, va="top", ha=side, transform=place)
        ax.set(xlabel="learning rate", ylabel="loss (nats), smoothed")

    return draw


def end_labels(
    ax: Axes,
    x: float,
    ends: list[tuple[float, str, str]],
    kind: str,
    *,
    decimals: int = 2,
    room: float = 0.4,
) -> None:
    """Label the ends of lines with their names and last values, moved apart where they would overlap."""
    low, high = ax.get_ylim()
    gap = (high - low) * 0.075
    placed: list[float] = []
    for value, name, colour in sorted(ends):
        y = max(value, placed[-1] + gap) if placed else value
        placed.append(y)
        text = f"{value:.3f}" if kind == "loss" else f"{value:.{decimals}%}"
        ax.annotate(
            f"{name} {text}",
            (x, y),
            xytext=(7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
            parse_math=False,
        )
    if placed:
        ax.set_ylim(low, max(high, placed[-1] + gap / 2))
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + (right - left) * room)
    ax.set_xticks([tick for tick in ax.get_xticks() if 1 <= tick <= x] or [x])
    ax.spines["bottom"].set_color(FRAME)
