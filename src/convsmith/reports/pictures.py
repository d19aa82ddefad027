"""The pictures of a run, one function each: facts in, a matplotlib figure out.

Colours are of the Okabe-Ito palette, which people with any kind of colour vision can tell apart; right and
wrong differ by a mark as well. Small images are enlarged by whole pixels, never blurred.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from convsmith import files
from convsmith.evaluation.facts import ClassFacts

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8F98", "#1F2430"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#C5C9D0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EAEE",
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 2.0,
}
LONGEST_NAME = 16
DPI = 150


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One image `(H, W, C)` uint8 of a gallery, with its caption and, where it was judged, the verdict."""

    image: NDArray[np.uint8]
    caption: str = ""
    right: bool | None = None


def gallery(tiles: Sequence[Tile], heading: str, subtitle: str = "", *, columns: int = 6) -> Figure:
    """Images side by side under their captions."""
    rows = max(1, -(-len(tiles) // columns))
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile.caption), default=0)
    cell = 1.3
    height = rows * (cell + 0.17 * lines) + 0.7
    with rc_context(STYLE):
        figure = Figure(figsize=(columns * (cell + 0.2) + 0.2, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for ax, tile in zip(axes.flat, tiles, strict=False):
            _draw_tile(ax, tile)
        add_heading(figure, heading, subtitle)
    return figure


def curves(metrics: Sequence[dict[str, float]], note: str = "") -> Figure:
    """Loss and accuracy of each epoch, every line labelled at its end.

    Args:
        metrics: The rows of metrics.csv.
        note: Said under the heading.
    """
    epochs = [row["epoch"] for row in metrics]
    names = [("train", BLUE), ("validation", GREEN), ("test", ORANGE)]
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        loss_ax, accuracy_ax = figure.subplots(1, 2)
        for ax, kind in ((loss_ax, "loss"), (accuracy_ax, "accuracy")):
            ends = []
            for name, colour in names:
                values = [row.get(f"{name}_{kind}", np.nan) for row in metrics]
                if np.isfinite(values).any():
                    ax.plot(
                        epochs, values, color=colour, marker="o" if len(epochs) < 16 else None, markersize=4
                    )
                    ends.append((values[-1], name, colour))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _end_labels(ax, epochs[-1], ends, kind)
            ax.set_xlabel("epoch")
        loss_ax.set_title("Loss (cross-entropy, mean over images)", loc="left", fontsize=10)
        accuracy_ax.set_title("Accuracy", loc="left", fontsize=10)
        accuracy_ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        add_heading(figure, "Training", note)
    return figure


def class_accuracy(classes: Sequence[ClassFacts], overall: float) -> Figure:
    """A bar a class, the best on top, with the accuracy over all images as a line."""
    known = sorted(
        (each for each in classes if each.accuracy is not None), key=lambda each: each.accuracy or 0
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 1.3 + 0.32 * max(len(known), 3)), layout="constrained")
        ax = figure.subplots()
        values = [each.accuracy or 0.0 for each in known]
        colours = [BLUE if value >= overall else GREY for value in values]
        ax.barh(range(len(known)), values, color=colours, height=0.72)
        ax.set_yticks(range(len(known)), [short(each.name) for each in known], parse_math=False)
        # Where all classes are good the differences are near 100 %; a cut axis is said in its label.
        low = 0.0 if min(values, default=0) < 0.7 else np.floor((min(values) - 0.02) * 20) / 20
        ax.set_xlim(low, 1.0 + (1 - low) * 0.12)
        for position, (each, value) in enumerate(zip(known, values, strict=True)):
            text = f"{value:.1%}  ({each.correct:,}/{each.total:,})"
            ax.text(low + (1 - low) * 0.012, position, text, va="center", color="white", fontsize=8.5)
        ax.axvline(overall, color=ORANGE, linewidth=1.5)
        ax.text(
            overall,
            len(known) - 0.4,
            f" all classes {overall:.2%}",
            color=ORANGE,
            va="bottom",
            ha="center",
            fontsize=9,
        )
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_xlabel("share of the class's test images that are recognised" + (" (axis cut)" if low else ""))
        add_heading(figure, "Accuracy of each class", "")
    return figure


def augmented(
    originals: NDArray[np.uint8],
    versions: NDArray[np.uint8],
    names: Sequence[str],
    heading: str,
    subtitle: str,
) -> Figure:
    """A row an image: as it is, then as the net sees it in training.

    Args:
        originals: `(N, H, W, C)` uint8.
        versions: `(N, K, H, W, C)` uint8, K changed copies of each.
        names: The class of each.
        heading: What the picture shows.
        subtitle: How it was made.
    """
    rows, columns = versions.shape[:2]
    with rc_context(STYLE):
        figure = Figure(figsize=((columns + 1) * 1.2 + 0.2, rows * 1.42 + 0.9), layout="constrained")
        axes = figure.subplots(rows, columns + 1, squeeze=False)
        for row in range(rows):
            _draw_tile(axes[row, 0], Tile(image=originals[row], caption=short(names[row])))
            for column in range(columns):
                _draw_tile(axes[row, column + 1], Tile(image=versions[row, column]))
        axes[0, 0].set_title(f"original\n{short(names[0])}", fontsize=9, parse_math=False)
        add_heading(figure, heading, subtitle)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the text pages have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": "convsmith"})
    files.write_bytes(path, content.getvalue())
    return path


def short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _draw_tile(ax: Axes, tile: Tile) -> None:
    grey = tile.image.shape[-1] == 1
    image = tile.image[..., 0] if grey else tile.image
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.axis("on")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    colour = {None: "#C5C9D0", True: BLUE, False: ORANGE}[tile.right]
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=0.8 if tile.right is None else 2.0)
    mark = {None: "", True: "✓ ", False: "✗ "}[tile.right]
    if tile.caption:
        ax.set_title(
            mark + tile.caption,
            fontsize=9,
            color=INK if tile.right is None else colour,
            parse_math=False,
        )


def add_heading(figure: Figure, heading: str, subtitle: str) -> None:
    """A bold heading and a grey line under it, at the left; the axes get the room below."""
    width, height = figure.get_size_inches()
    used = 0.62 if subtitle else 0.38
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "every figure here is made with layout='constrained'"
    engine.set(rect=(0, 0, 1, 1 - used / height))
    left = 0.1 / width
    figure.text(left, 1 - 0.08 / height, heading, va="top", fontsize=13, weight="bold", parse_math=False)
    figure.text(left, 1 - 0.36 / height, subtitle, va="top", fontsize=9.5, color="#5A606B", parse_math=False)


def _end_labels(ax: Axes, x: float, ends: list[tuple[float, str, str]], kind: str) -> None:
    """Names and last values at the lines' ends, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    gap = (high - low) * 0.07
    placed: list[float] = []
    for value, name, colour in sorted(ends):
        y = max(value, placed[-1] + gap) if placed else value
        placed.append(y)
        shown = f"{value:.3f}" if kind == "loss" else f"{value:.2%}"
        ax.annotate(
            f"{name} {shown}",
            (x, y),
            xytext=(7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9.5,
            annotation_clip=False,
        )
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + (right - left) * 0.34)
    ax.set_xticks([tick for tick in ax.get_xticks() if 1 <= tick <= x] or [x])
