"""Draws docs/images/accuracy-parameters.png, the recipes beside public results, and prints the latter.

    python docs/draw_frontier.py

Ours are the recipes' measured results, public ones those of docs/anchors.toml.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
# Where a name stands by its marker: its distance in points, and the part of it that is there.
SIDES = {"above": ((0, 6), "center"), "left": ((-7, -3), "right"), "right": ((7, -3), "left")}
# Whose names would lie on others at the left.
AT_RIGHT = {"cifar10-classic", "cifar10-rmsprop"}
# A hollow marker is of an epoch that was chosen by the test set: too good by a little.
FACE = {"last": style.GREY, "unknown": style.RULE, "best": "none"}
NOT_ALL = "Grey: last epoch. Pale: nobody says which. Hollow: the best epoch by the test set."


@dataclass(frozen=True)
class Point:
    name: str
    parameters: int
    accuracy: float


def ours(source: str) -> list[Point]:
    """The recipes for a data set, by what was measured of them."""
    found = []
    for recipe in cs.list_recipes():
        measured = re.match(r"(\d+\.\d+) %", recipe.result)
        if recipe.data.source == source and measured:
            parameters = cs.load_target(recipe.name).analysis.parameters
            found.append(Point(recipe.name, parameters, float(measured[1])))
    return found


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


def table(public: dict[str, list[dict[str, Any]]]) -> str:
    """The public results in Markdown."""
    rows = [
        "| data | net | parameters | test accuracy, % | epoch | source |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for source, results in public.items():
        for each in results:
            cells = (
                CANONICAL[source].title,
                each["name"],
                f"{each['parameters']:,}",
                f"{each['accuracy']:.2f}",
                each["selection"],
                f"[{each['source'].removeprefix('https://github.com/')}]({each['source']})",
            )
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    public = tomllib.loads((DOCS / "anchors.toml").read_text(encoding="utf-8"))
    with rc_context(style.STYLE):
        figure = Figure(figsize=(11, 5), layout="constrained")
        for ax, source in zip(figure.subplots(1, 2), public, strict=True):
            panel(ax, source, public[source])
        style.add_heading(
            figure, "Accuracy by parameters: the shelf's recipes (blue) beside public results", NOT_ALL
        )
        style.save(figure, DOCS / "images" / "accuracy-parameters.png")
    print(table(public))


if __name__ == "__main__":
    main()
