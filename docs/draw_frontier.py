"""Draw docs/images/accuracy-parameters.png: the accuracy of the recipes and of public results by parameters.

    python docs/draw_frontier.py

Our figures are the means of results/trainings.csv, the public ones those of docs/anchors.toml.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tables
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

import convsmith as cs
from convsmith.data.dataset import CANONICAL
from convsmith.reports import style

DOCS = Path(__file__).parent
TICKS = {
    "cifar10": (20_000, 50_000, 100_000, 200_000, 300_000),
    "mnist": (2_000, 5_000, 10_000, 100_000, 500_000),
}
# Position of a name at its marker: offset in points, and horizontal alignment.
SIDES = {"above": ((0, 6), "center"), "left": ((-7, -3), "right"), "right": ((7, -3), "left")}
# Names that would overlap others on the left.
AT_RIGHT = {"cifar10-classic", "cifar10-rmsprop"}
# Hollow markers: the epoch was selected on the test set, which is slightly optimistic.
FACE = {"last": style.GREY, "unknown": style.RULE, "best": "none"}
NOT_ALL = "Grey: last epoch. Pale: epoch unknown. Hollow: best epoch on the test set."


@dataclass(frozen=True)
class Point:
    name: str
    parameters: int
    accuracy: float


def ours(source: str) -> list[Point]:
    """Return the measured recipes for a data set."""
    return [
        Point(recipe.name, int(runs[0]["parameters"]), tables.accuracy(recipe.name))
        for recipe in cs.list_recipes()
        if recipe.data.source == source and (runs := tables.trainings(recipe.name))
    ]


def panel(ax: Axes, source: str, public: list[dict[str, Any]]) -> None:
    for each in public:
        at = each["parameters"], each["accuracy"]
        ax.plot(*at, "s", color=style.GREY, markerfacecolor=FACE[each["selection"]], markersize=6)
        label(ax, each["name"].split(",")[0], at, each.get("side", "above"), style.SOFT)
    for point in ours(source):
        at = point.parameters, point.accuracy
        ax.plot(*at, "o", color=style.BLUE, markersize=7)
        side = "right" if point.name in AT_RIGHT else "left"
        label(ax, point.name.removeprefix(f"{source}-"), at, side, style.BLUE)
    ax.set_xscale("log")
    ax.margins(x=0.16, y=0.08)
    ax.set_xticks(TICKS[source])
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:.0f}k"))
    ax.yaxis.set_major_formatter(PercentFormatter(100, decimals=None))
    ax.set_title(CANONICAL[source].title, loc="left")
    ax.set_xlabel("parameters")
    ax.set_ylabel("test accuracy")


def label(ax: Axes, text: str, at: tuple[float, float], side: str, color: str) -> None:
    offset, align = SIDES[side]
    ax.annotate(text, at, xytext=offset, textcoords="offset points", ha=align, color=color, size=8)


def main() -> None:
    public = tomllib.loads((DOCS / "anchors.toml").read_text(encoding="utf-8"))
    with rc_context(style.STYLE):
        figure = Figure(figsize=(11, 5), layout="constrained")
        for ax, source in zip(figure.subplots(1, 2), public, strict=True):
            panel(ax, source, public[source])
        style.add_heading(figure, "Accuracy by parameters: recipes (blue) and public results", NOT_ALL)
        style.save(figure, DOCS / "images" / "accuracy-parameters.png")


if __name__ == "__main__":
    main()
