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
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from convsmith.data.fold import TEST_SET, EvaluationSet
from convsmith.evaluation.calibration import RiskCoverage, merge_bins
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
    PURPLE,
    SERIES,
    SOFT,
    STYLE,
    WHITE,
    add_heading,
    fixed,
    short,
)
from convsmith.runs.schema import EpochRow
from convsmith.training.lr_find import RangeTest

PAGE_WIDTH = 4.6
# For text on dark cells, whose colour is the same in both colour schemes.
LIGHT = fixed(WHITE)
# Above these numbers of classes only the extremes get bars, and a matrix has no numbers or no names.
MOST_BARS, MOST_NUMBERS, MOST_NAMES = 30, 20, 60
# Images of a bar of the reliability chart, so that its accuracy is more than chance.
LEAST_IN_A_BAR = 10
Draw = Callable[[Axes], None]
History = Sequence[EpochRow]


def one(draw: Draw, height: float = 3.1) -> Figure:
    """Draw one chart for the page."""
    with rc_context(STYLE):
        # One axis needs no constrained layout, which measures everything twice.
        figure = Figure(figsize=(PAGE_WIDTH, height), layout=TightLayoutEngine(pad=0.4))
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


# Each split has a colour and a dash of its own: colours alone are not enough in print.
SPLITS = {"train": (BLUE, "-"), "validation": (GREEN, (0, (5, 1.5))), "test": (ORANGE, "-")}


def curve(
    metrics: History,
    kind: str,
    *,
    log: bool = False,
    selected: int | None = None,
    evaluated: EvaluationSet = TEST_SET,
) -> Draw:
    """Draw loss or accuracy by epoch, each line labelled at its end.

    Args:
        metrics: The rows of metrics.csv.
        kind: "loss" or "accuracy".
        log: Whether the axis is logarithmic, which shows the progress of the last epochs.
        selected: The epoch whose weights the run has, if it was selected; it is marked.
        evaluated: The names of the images of the test split.
    """

    def draw(ax: Axes) -> None:
        epochs = [row.epoch for row in metrics]
        ends = []
        for name, (colour, dash) in SPLITS.items():
            values = values_of(metrics, name, kind)
            if np.isfinite(values).any():
                marker = "o" if len(epochs) < 16 else None
                ax.plot(epochs, values, color=colour, linestyle=dash, marker=marker, markersize=4)
                ends.append((values[-1], evaluated.kind if name == "test" else name, colour))
        if log:
            ax.set_yscale("log")
            low, high = ax.get_ylim()
            # Less than two thirds of a decade may have no power of ten, nor twice or five times one.
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 4 * low else MaxNLocator(5))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        elif kind == "accuracy":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        end_labels(ax, epochs[-1], ends, kind)
        if selected is not None:
            _mark_epoch(ax, selected, at_top=kind == "loss")
        ax.set_xlabel("epoch")
        title = "Accuracy" if kind == "accuracy" else f"Loss in nats{', logarithmic' if log else ''}"
        ax.set_title(title, loc="left", fontsize=10)

    return draw


def _mark_epoch(ax: Axes, epoch: int, *, at_top: bool) -> None:
    """Mark the epoch whose weights a run has by a vertical line with its number."""
    ax.axvline(epoch, color=GREY, linewidth=1, linestyle=(0, (1, 2)), zorder=0)
    left, right = ax.get_xlim()
    is_left = epoch < (left + right) / 2
    ax.annotate(
        f"weights of epoch {epoch}",
        (epoch, 0.98 if at_top else 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4 if is_left else -4, 0),
        textcoords="offset points",
        color=SOFT,
        fontsize=8.5,
        ha="left" if is_left else "right",
        va="top" if at_top else "bottom",
    )


def joint_curves(
    runs: Sequence[tuple[str, str, History]],
    kind: str,
    *,
    decimals: int = 1,
    low: float | None = None,
    room: float = 0.62,
) -> Draw:
    """Draw test loss or accuracy of several runs by epoch, each line labelled at its end.

    Args:
        runs: Label, colour and rows of metrics.csv; of runs with one label the last is labelled.
        kind: "loss" or "accuracy".
        decimals: Of the labels, in percent.
        low: Where the axis starts; by default at the lowest value.
        room: That of the labels, as a share of the width.
    """

    def draw(ax: Axes) -> None:
        ends: dict[str, tuple[float, str, str]] = {}
        last = 1.0
        for label, colour, metrics in runs:
            epochs = [row.epoch for row in metrics]
            values = values_of(metrics, "test", kind)
            if not epochs or not np.isfinite(values).any():
                continue
            marker = "o" if len(epochs) < 3 else None
            ax.plot(epochs, values, color=colour, linewidth=1.5, alpha=0.85, marker=marker)
            ends[label] = (values[-1], label, colour)
            last = max(last, float(epochs[-1]))
        if low is not None:
            ax.set_ylim(bottom=low)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        end_labels(ax, last, list(ends.values()), kind, decimals=decimals, room=room)
        ax.set_xlabel("epoch")
        ax.set_title(f"Test {kind}" + (" (nats)" if kind == "loss" else ""), loc="left", fontsize=10)
        if kind == "accuracy":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return draw


def learning_rate(metrics: History) -> Draw:
    """Draw the learning rate at the beginning of each epoch."""

    def draw(ax: Axes) -> None:
        epochs = [row.epoch for row in metrics]
        rates = [np.nan if row.lr is None else row.lr for row in metrics]
        marker = "o" if len(epochs) < 16 else None
        ax.plot(epochs, rates, color=PURPLE, marker=marker, markersize=4)
        highest = int(np.nanargmax(rates))
        ax.annotate(
            f"{rates[highest]:.3g}",
            (epochs[highest], rates[highest]),
            xytext=(0, 5),
            textcoords="offset points",
            color=PURPLE,
            fontsize=9,
            ha="center",
        )
        ax.set_ylim(0, rates[highest] * 1.15)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.set_xlabel("epoch")
        ax.set_title("Learning rate at the beginning of each epoch", loc="left", fontsize=10)

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
        colours = [BLUE if value >= overall else SOFT for value in values]
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
        label = f"all classes {overall:.2%}"
        top = ax.get_xaxis_transform()
        ax.text(overall, 1.01, label, color=ORANGE, va="bottom", ha="center", fontsize=9, transform=top)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        cut = " (the axis does not start at 0)" if low else ""
        many = f"; {left_out} classes between are not shown" if left_out > 0 else ""
        ax.set_xlabel(f"share of the class{cut}{many}", fontsize=8.5)
        ax.set_title("Recall of each class", loc="left", fontsize=10, pad=18)

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
        ax.set_title("Confusion matrix", loc="left", fontsize=10)
        if count <= MOST_NAMES:
            size = 8.5 if count <= MOST_NUMBERS else 5
            rotation = 90 if max(map(len, names)) > 2 else 0
            ax.set_xticks(range(count), names, rotation=rotation, fontsize=size, parse_math=False)
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
    """Draw accuracy by confidence as bars with the number of images; the mean confidence is a line in each.

    Bins with few images are merged with their neighbours, since their accuracy is mostly chance.
    """
    total = sum(each.count for each in calibration.bins)
    least = max(LEAST_IN_A_BAR, total // 100)
    bars = merge_bins(calibration.bins, least)

    def draw(ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
        for each in bars:
            accuracy, confidence = each.accuracy or 0.0, each.confidence or 0.0
            width = each.high - each.low
            ax.bar(each.low, accuracy, width, align="edge", color=BLUE, edgecolor="white", linewidth=1)
            ax.plot([each.low, each.high], [confidence] * 2, color=ORANGE, linewidth=2)
            wide = width > 0.13
            ax.text(
                each.low + width / 2,
                0.02,
                f"{each.count:,}",
                color="white",
                fontsize=8.5,
                ha="center",
                va="bottom",
                rotation=0 if wide else 90,
            )
        ax.set_title(f"Reliability: ECE {100 * calibration.ece:.2f} %", loc="left", fontsize=10)
        ax.set(xlabel="confidence; in the bars: number of images", ylabel="accuracy")
        ax.set(xlim=(0, 1.0), ylim=(0, 1.05))
        ax.grid(visible=False, axis="x")
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
        highest = max(float(curve.risk[places].max()), 0.01)
        # Above the curve if it is low, else below.
        height = half + 0.05 * highest if half < 0.3 * highest else 0.06 * highest
        ax.text(0.78, height, f"most confident 80 %: {half:.2%}", ha="right", color=ORANGE, fontsize=9)
        ax.set_title(f"Risk by coverage: area {100 * curve.area:.2f} %", loc="left", fontsize=10)
        ax.set(xlabel="share of images, most confident first", ylabel="error rate among them")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(0, min(highest * 1.2, 1.05))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))

    return draw


def robustness(record: Robustness) -> Draw:
    """Draw accuracy by strength of each corruption, each line labelled at its end.

    Args:
        record: From `evaluation.robustness`.
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
    log = ax.get_yscale() == "log"
    to_scale, from_scale = (np.log10, lambda y: 10.0**y) if log else (float, float)
    low, high = map(to_scale, ax.get_ylim())
    gap = (high - low) * 0.075
    placed: list[float] = []
    # A last value that a logarithmic axis cannot show, or that is not finite, has no place.
    for value, name, colour in sorted(end for end in ends if np.isfinite(end[0]) and (end[0] > 0 or not log)):
        position = float(to_scale(value))
        placed.append(max(position, placed[-1] + gap) if placed else position)
        y = from_scale(placed[-1])
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
        ax.set_ylim(from_scale(low), from_scale(max(high, placed[-1] + gap / 2)))
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + (right - left) * room)
    ax.set_xticks([tick for tick in ax.get_xticks() if 1 <= tick <= x] or [x])
    ax.spines["bottom"].set_color(FRAME)
