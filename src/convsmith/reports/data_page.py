"""The description of a data set as one self-contained page, and its charts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from convsmith.data.checks.description import (
    MOST_FILES,
    MOST_LARGE,
    Description,
    Spread,
    advices,
    balance_text,
    files_text,
    listed_classes,
    next_commands,
    size_rows,
)
from convsmith.data.issues import STOPS_TRAINING
from convsmith.reports.charts import SPLITS, Draw, one
from convsmith.reports.html import asset, environment, markup, policy, stylesheet
from convsmith.reports.sheets import embedded
from convsmith.reports.style import BLUE, GREY, INK, SOFT, Drawing, draw, short
from convsmith.text import plural

# Kinds of issues that nearly every image may have: their numbers are on the page, their files are not.
_UNLISTED = {"mixed sizes", "mixed modes"}
_LEAST_HEIGHT, _ROW_HEIGHT = 1.3, 0.27


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class of the page: its counts by split, its examples and its mean image as data URIs."""

    name: str
    counts: tuple[int, ...]
    examples: tuple[str, ...]
    mean: str


@dataclass(frozen=True, kw_only=True)
class IssueRow:
    """A kind of issue: how often it occurs, whether it stops a training, and its first files."""

    kind: str
    count: int
    stops: bool
    files: tuple[str, ...]


def draw_charts(description: Description) -> dict[str, Drawing]:
    """Draw the number of images of each class, and the sizes where they differ, by title."""
    names, _ = listed_classes(description.verification.classes)
    height = _LEAST_HEIGHT + _ROW_HEIGHT * max(len(names), 2)
    charts = {"Images of each class": draw(one(_class_bars(description), height))}
    if len(description.verification.classes) > len(names):
        charts["Training images of all classes, in order"] = draw(one(_ranked_classes(description), 3.2))
    if description.sizes and description.sizes.distinct > 1:
        charts["Width and height of the images"] = draw(one(_scatter(description.sizes.counts), 3.8))
    return charts


def html(description: Description, charts: Mapping[str, Drawing]) -> str:
    """Render the page."""
    script = asset("report.js")
    verification = description.verification
    rows, left_out = _class_rows(description)
    return (
        environment()
        .get_template("data.html.j2")
        .render(
            description=description,
            verification=verification,
            rows=rows,
            left_out=left_out,
            most_large=MOST_LARGE,
            balance=balance_text(description.balance, len(verification.classes))
            if description.balance
            else "",
            files=files_text(description),
            pixels=list(zip(description.mean, description.std, strict=True)),
            sizes=_size_table(description),
            issues=_issue_rows(description),
            advices=advices(description),
            commands=next_commands(description),
            mean=_uri(description.pictures.mean),
            charts={title: markup(chart) for title, chart in charts.items()},
            style=stylesheet(),
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
        )
    )


def _class_rows(description: Description) -> tuple[list[ClassRow], int]:
    classes, pictures = description.verification.classes, description.pictures
    names, left_out = listed_classes(classes)
    place = {name: number for number, name in enumerate(pictures.classes)}
    return [
        ClassRow(
            name=name,
            counts=tuple(classes[name].get(split, 0) for split in description.splits),
            examples=tuple(embedded(each) for each in pictures.examples[place[name]])
            if name in place
            else (),
            mean=_uri(pictures.means[place[name]]) if name in place else "",
        )
        for name in names
    ], left_out


def _uri(image: NDArray[np.uint8] | None) -> str:
    return "" if image is None else embedded(image)


def _size_table(description: Description) -> list[tuple[str, tuple[str, ...]]]:
    if description.sizes is None:
        return []
    return [(name, _numbers(spread)) for name, spread in size_rows(description.sizes)]


def _numbers(spread: Spread) -> tuple[str, ...]:
    return tuple(f"{number:.4g}" for number in spread.numbers)


def _issue_rows(description: Description) -> list[IssueRow]:
    return [
        IssueRow(
            kind=kind,
            count=count,
            stops=STOPS_TRAINING[kind],
            files=()
            if kind in _UNLISTED
            else tuple(issue.line() for issue in description.issues(kind)[: 2 * MOST_FILES]),
        )
        for kind, count in description.verification.counts.items()
    ]


def _class_bars(description: Description) -> Draw:
    """Draw one bar per class, divided by split; with many classes, the largest and the smallest."""
    classes, splits = description.verification.classes, list(description.splits)
    names, left_out = listed_classes(classes)
    names = names[::-1]

    def draw(ax: Axes) -> None:
        start = np.zeros(len(names))
        for split in splits:
            counts = np.array([classes[name].get(split, 0) for name in names], dtype=float)
            colour = SPLITS.get(split, (GREY, "-"))[0]
            ax.barh(range(len(names)), counts, left=start, color=colour, height=0.72)
            start += counts
        top = max(float(start.max(initial=0)), 1.0)
        for position, (name, end) in enumerate(zip(names, start, strict=True)):
            numbers = " + ".join(f"{classes[name].get(split, 0):,}" for split in splits)
            ax.text(end + top * 0.012, position, numbers, va="center", color=INK, fontsize=8.5)
        ax.set_yticks(range(len(names)), [short(name) for name in names], parse_math=False)
        ax.set_xlim(0, top * 1.3)
        ax.set_ylim(-0.7, len(names) - 0.3)
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        for number, split in enumerate(splits):
            ax.text(
                number * 0.24, 1.01, split, color=SPLITS.get(split, (GREY, "-"))[0], va="bottom",
                fontsize=9, transform=ax.transAxes,
            )  # fmt: skip
        many = f"; {plural(left_out, 'class')} between are not shown" if left_out else ""
        ax.set_xlabel(f"images{many}", fontsize=8.5)
        ax.set_title("Images of each class", loc="left", fontsize=10, pad=18)

    return draw


def _ranked_classes(description: Description) -> Draw:
    """Draw the number of training images of all classes in falling order."""
    counts = sorted(
        (each.get("train", 0) for each in description.verification.classes.values()), reverse=True
    )

    def draw(ax: Axes) -> None:
        ax.step(range(1, len(counts) + 1), counts, where="mid", color=BLUE)
        ax.set_ylim(0, max(counts) * 1.1 or 1)
        ax.set_xlim(1, len(counts))
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set(xlabel="class, in order of size", ylabel="training images")
        ax.set_title("Training images of all classes", loc="left", fontsize=10)

    return draw


def _scatter(counts: Mapping[tuple[int, int], int]) -> Draw:
    """Draw a dot for each size, larger for more images, on logarithmic axes."""
    sizes = np.array(list(counts), dtype=float)
    numbers = np.array(list(counts.values()), dtype=float)

    def draw(ax: Axes) -> None:
        area = 8 + 250 * numbers / numbers.max()
        ax.scatter(sizes[:, 0], sizes[:, 1], s=area, color=BLUE, alpha=0.45, linewidths=0, zorder=3)
        low, high = float(sizes.min()) / 1.15, float(sizes.max()) * 1.15
        ax.plot([low, high], [low, high], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.text(high / 1.05, high / 1.08, "square ", color=SOFT, fontsize=8.5, ha="right", va="bottom")
        for axis in (ax.xaxis, ax.yaxis):
            axis.axes.set(xlim=(low, high), ylim=(low, high))
        ax.set(xscale="log", yscale="log", xlabel="width in pixels", ylabel="height in pixels")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 4 * low else MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        ax.set_title("Sizes; larger dots are more images", loc="left", fontsize=10)

    return draw
