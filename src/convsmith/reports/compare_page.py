"""Runs beside each other, as one self-contained page and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from convsmith.evaluation.comparison import Difference, Spread
from convsmith.evaluation.metrics import Interval
from convsmith.reports.charts import Draw, end_labels, one
from convsmith.reports.html import asset, drawing, environment, policy
from convsmith.reports.sheets import Sheet
from convsmith.reports.style import INK, SERIES, short
from convsmith.text import escape_markdown, percent, printable_value


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the table. `name` is its folder's, `group` the place of its group."""

    name: str
    recipe: str
    seed: int
    group: int
    data: str
    parameters: int
    macs: int
    receptive_field: int | None
    accuracy: float
    interval: Interval
    ece: float
    seconds: float
    epochs: int
    metrics: Sequence[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Runs of one recipe that differ by their seed alone."""

    label: str
    runs: tuple[str, ...]
    accuracy: Spread
    ece: Spread
    seconds: Spread


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """Two runs on the same test images: how many each alone gets right, and McNemar's exact p."""

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float
    examples_first: tuple[tuple[int, str], ...] = ()
    examples_second: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """All that the pages say."""

    runs: tuple[RunRow, ...]
    groups: tuple[GroupRow, ...]
    differences: tuple[Difference, ...]
    difference_labels: tuple[str, ...]
    pairs: tuple[PairRow, ...]
    pairs_left_out: int
    not_comparable: tuple[tuple[str, str], ...]
    examples: Sheet | None


def html(facts: ComparisonData) -> str:
    """The page as text."""
    made = environment()
    made.filters["shown"] = shown
    made.filters["p_text"] = p_text
    script = asset("report.js")
    return made.get_template("compare.html.j2").render(
        facts=facts,
        charts=_charts(facts),
        style=Markup(asset("style.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=policy(script),
    )


def markdown(facts: ComparisonData) -> str:
    """The tables of the page as Markdown; foreign text is escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=False,  # noqa: S701 - Markdown; every foreign text goes through `md`
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"md": escape_markdown, "percent": percent, "shown": shown, "p_text": p_text}
    return made.get_template("compare.md.j2").render(facts=facts)


def shown(value: Any) -> str:
    """A recipe's value as text.

    >>> shown(None), shown(True), shown(["a", 2]), shown(0.004)
    ('not set', 'true', '["a", 2]', '0.004')
    """
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def p_text(p_value: float) -> str:
    """A p value as text.

    >>> p_text(0.6875), p_text(3e-7)
    ('0.6875', '< 0.0001')
    """
    return f"{p_value:.4f}" if p_value >= 1e-4 else "< 0.0001"


def colour(group: int) -> str:
    """The colour of a group in all charts."""
    return SERIES[group % len(SERIES)]


def _charts(facts: ComparisonData) -> dict[str, Markup]:
    drawn = {
        "loss": one(_curves(facts, "loss"), 3.6),
        "accuracy": one(_curves(facts, "accuracy"), 3.6),
        "parameters": one(_against(facts, "parameters", "parameters"), 3.6),
        "seconds": one(_against(facts, "seconds", "seconds of training and evaluation"), 3.6),
    }
    return {name: drawing(figure) for name, figure in drawn.items()}


def _curves(facts: ComparisonData, kind: str) -> Draw:
    """Test loss or accuracy by epoch: a line a run, a colour and a label a group."""

    def draw(ax: Axes) -> None:
        ends: dict[int, tuple[float, str, str]] = {}
        last = 1.0
        for run in facts.runs:
            epochs = [row["epoch"] for row in run.metrics]
            values = [row.get(f"test_{kind}", np.nan) for row in run.metrics]
            if not epochs or not np.isfinite(values).any():
                continue
            marker = "o" if len(epochs) < 3 else None
            ax.plot(epochs, values, color=colour(run.group), linewidth=1.5, alpha=0.85, marker=marker)
            ends[run.group] = (values[-1], short(facts.groups[run.group].label), colour(run.group))
            last = max(last, epochs[-1])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        end_labels(ax, last, list(ends.values()), kind, decimals=1, room=0.62)
        ax.set_xlabel("epoch")
        ax.set_title(f"Test {kind}" + (" (nats)" if kind == "loss" else ""), loc="left", fontsize=10)
        if kind == "accuracy":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return draw


def _against(facts: ComparisonData, field: str, label: str) -> Draw:
    """Accuracy with its interval against what it costs, on a logarithmic axis."""

    def draw(ax: Axes) -> None:
        named: set[int] = set()
        for run in facts.runs:
            x, y = max(getattr(run, field), 1e-3), run.accuracy
            bars = [[y - run.interval.low], [run.interval.high - y]]
            ax.errorbar([x], [y], yerr=bars, color=colour(run.group), marker="o", markersize=5, linewidth=1.2)
            if run.group not in named:
                text = short(facts.groups[run.group].label)
                ax.annotate(
                    text,
                    (x, y),
                    xytext=(6, 5),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=INK,
                    parse_math=False,
                )
                named.add(run.group)
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        ax.set_xlim(low / 1.3, high * (high / low) ** 0.3)
        # Runs often lie within one power of ten.
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        ax.set_xlabel(label)
        ax.set_title("Test accuracy, with its 95 % interval", loc="left", fontsize=10)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))

    return draw
