"""The comparison of runs as one self-contained page and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from convsmith.evaluation.comparison import Difference, Spread
from convsmith.evaluation.field_effects import FieldEffects
from convsmith.evaluation.metrics import Interval
from convsmith.reports.charts import Draw, joint_curves, one
from convsmith.reports.html import asset, environment, markup, policy, stylesheet
from convsmith.reports.sheets import Sheet
from convsmith.reports.style import INK, SERIES, draw, short
from convsmith.runs.schema import EpochRow
from convsmith.text import escape_markdown, one_line, percent, plural, printable_value


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run of the table; `name` is that of its folder, `group` the index of its group.

    `weights` says where weights come from that were trained elsewhere; their training has no known duration.
    """

    name: str
    recipe: str
    seed: int
    group: int
    data: str
    parameters: int
    macs: int | None
    receptive_field: int | None
    balanced_accuracy: float | None
    macro_f1: float | None
    is_imbalanced: bool
    accuracy: float
    interval: Interval
    ece: float
    seconds: float | None
    epochs: int
    weights: str
    metrics: Sequence[EpochRow]


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Runs of one recipe that differ only in their seed."""

    label: str
    runs: tuple[str, ...]
    balanced_accuracy: Spread | None
    macro_f1: Spread | None
    accuracy: Spread
    ece: Spread
    seconds: Spread | None


@dataclass(frozen=True, kw_only=True)
class TestSetRow:
    """A test set, and the indices of the groups whose runs were evaluated on it.

    `fold` names a fold of the training set that was held out in its place; else it is empty.
    """

    title: str
    fingerprint: str
    images: int
    classes: int
    groups: tuple[int, ...]
    fold: str = ""

    def text(self) -> str:
        """Describe the test set in a line."""
        fold = f", {self.fold} of the training set" if self.fold else ""
        return (
            f"{one_line(self.title)}{fold}, {plural(self.images, 'image')}, {plural(self.classes, 'class')}, "
            f"fingerprint {self.fingerprint[:8]}"
        )


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """Two runs on the same test images: how many only one classifies correctly, and McNemar's exact p."""

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float
    examples_first: tuple[tuple[int, str], ...] = ()
    examples_second: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """All data of the pages."""

    runs: tuple[RunRow, ...]
    groups: tuple[GroupRow, ...]
    test_sets: tuple[TestSetRow, ...]
    differences: tuple[Difference, ...]
    difference_labels: tuple[str, ...]
    pairs: tuple[PairRow, ...]
    pairs_left_out: int
    not_comparable: tuple[tuple[str, str], ...]
    examples: Sheet | None
    effects: FieldEffects | None = None

    @property
    def is_imbalanced(self) -> bool:
        """Whether a run has imbalanced data: then what counts each class equally comes first."""
        return any(run.is_imbalanced for run in self.runs)

    @property
    def is_comparable(self) -> bool:
        """Whether all runs were evaluated on the same test set."""
        return len(self.test_sets) == 1

    def runs_on(self, test_set: TestSetRow) -> tuple[RunRow, ...]:
        """Return the runs that were evaluated on a test set."""
        return tuple(run for run in self.runs if run.group in test_set.groups)


def html(comparison: ComparisonData) -> str:
    """Render the page."""
    templates = environment()
    templates.filters["format_value"] = format_value
    templates.filters["format_p"] = format_p
    script = asset("report.js")
    return templates.get_template("compare.html.j2").render(
        comparison=comparison,
        charts=_charts(comparison),
        style=stylesheet(),
        script=Markup(script),  # noqa: S704 - our own file
        policy=policy(script),
    )


def markdown(comparison: ComparisonData) -> str:
    """Render the tables of the page as Markdown; user text is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("convsmith.reports"),
        autoescape=False,  # noqa: S701 - Markdown; all user text goes through `md`
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "md": escape_markdown,
        "percent": percent,
        "plural": plural,
        "format_value": format_value,
        "format_p": format_p,
    }
    return templates.get_template("compare.md.j2").render(comparison=comparison)


def format_value(value: Any) -> str:
    """Format the value of a recipe field.

    >>> format_value(None), format_value(True), format_value(["a", 2]), format_value(0.004)
    ('not set', 'true', '["a", 2]', '0.004')
    """
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def format_p(p_value: float) -> str:
    """Format a p-value.

    >>> format_p(0.6875), format_p(3e-7)
    ('0.6875', '< 0.0001')
    """
    return f"{p_value:.4f}" if p_value >= 1e-4 else "< 0.0001"


def colour(group: int) -> str:
    """Return the colour of a group, the same in all charts."""
    return SERIES[group % len(SERIES)]


def _charts(comparison: ComparisonData) -> list[dict[str, Markup]]:
    """Draw the charts of each test set; no chart mixes accuracies of different test sets."""
    charts = []
    for test_set in comparison.test_sets:
        runs, groups = comparison.runs_on(test_set), comparison.groups
        drawn: dict[str, Figure] = {}
        # Weights that were trained elsewhere have neither curves nor a duration.
        if any(run.metrics for run in runs) or not any(run.weights for run in runs):
            drawn |= {kind: one(_curves(runs, groups, kind), 3.6) for kind in ("loss", "accuracy")}
        drawn["parameters"] = one(_against(runs, groups, "parameters", "parameters"), 3.6)
        if any(run.seconds is not None for run in runs):
            label = "seconds of training and evaluation"
            drawn["seconds"] = one(_against(runs, groups, "seconds", label), 3.6)
        charts.append({name: markup(draw(figure)) for name, figure in drawn.items()})
    return charts


def _curves(runs: Sequence[RunRow], groups: Sequence[GroupRow], kind: str) -> Draw:
    """Draw test loss or accuracy by epoch: one line per run, one colour and label per group."""
    lines = [(short(groups[run.group].label), colour(run.group), run.metrics) for run in runs]
    return joint_curves(lines, kind)


def _tick_text(value: float) -> str:
    """Format a place on an axis; ticks of less than a power of ten need decimals.

    >>> _tick_text(2.0), _tick_text(0.02), _tick_text(1.25), _tick_text(20_000)
    ('2', '0.02', '1.25', '20,000')
    """
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"


def _against(runs: Sequence[RunRow], groups: Sequence[GroupRow], field: str, label: str) -> Draw:
    """Draw accuracy with its interval by cost, on a logarithmic axis."""

    def draw(ax: Axes) -> None:
        named: set[int] = set()
        for run in runs:
            cost = getattr(run, field)
            if cost is None:
                continue
            x, y = max(cost, 1e-3), run.accuracy
            bars = [[y - run.interval.low], [run.interval.high - y]]
            ax.errorbar([x], [y], yerr=bars, color=colour(run.group), marker="o", markersize=5, linewidth=1.2)
            if run.group not in named:
                text = short(groups[run.group].label)
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
        # Runs are often within one power of ten.
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick_text(value)))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        ax.set_xlabel(label)
        ax.set_title("Test accuracy, with its 95 % interval", loc="left", fontsize=10)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))

    return draw
