"""The results of a search as one self-contained page, and its charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from convsmith.evaluation.metrics import Interval
from convsmith.reports.charts import Draw, one
from convsmith.reports.html import asset, environment, markup, policy, stylesheet
from convsmith.reports.style import BLUE, GREY, INK, ORANGE, Drawing, draw

# Number of points of the Pareto front that are labelled, the most accurate first.
_MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial and its last result.

    Attributes:
        number: 0 for the starting point.
        parent: The trial that was mutated.
        changes: Descriptions of the mutations.
        net: The network in the notation.
        fields: Values of recipe fields, by key.
        state: "complete", "waits", "failed".
        reason: Why the trial failed.
        epochs: Number of epochs trained.
        accuracy: On held-out training images, from 0 to 1; None before the first rung.
        interval: 95 % interval of the accuracy.
        best: Whether the trial is on the Pareto front.
        recipe: File name of its recipe next to the page; empty if there is none.
        seconds: Duration of training and evaluation.
    """

    number: int
    parent: int | None
    changes: tuple[str, ...]
    net: str
    fields: dict[str, float]
    state: str
    reason: str
    epochs: int
    accuracy: float | None
    interval: Interval | None
    parameters: int
    macs: int
    receptive_field: int | None
    best: bool
    recipe: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """All data of the page.

    Attributes:
        recipe: Name of the starting recipe.
        brief: Name of the brief that each network passes.
        data: Title of the data set.
        trained_on: Number of images that candidates are trained on.
        held_out: Number of held-out training images that they are compared on.
        epochs: Number of epochs of a complete training.
        rungs: Numbers of epochs after which trials are compared.
        factor: 1/factor of the trials is kept at each rung.
        max_macs: Maximum MACs of a candidate.
        seed: Seed of the search.
        refused: Number of candidates that failed the brief by arithmetic.
        seconds: Total duration of training.
        notes: Notes on how to read the accuracies.
        trials: Sorted by number.
        commands: Commands that train the results, by trial number.
    """

    recipe: str
    brief: str
    data: str
    trained_on: int
    held_out: int
    epochs: int
    rungs: tuple[int, ...]
    factor: int
    max_macs: int
    seed: int
    refused: int
    seconds: float
    notes: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    commands: tuple[tuple[int, str], ...]

    @property
    def start(self) -> TrialRow | None:
        return next((trial for trial in self.trials if trial.number == 0), None)

    def changed_fields(self, trial: TrialRow) -> dict[str, float]:
        """Return the fields that differ from the starting point."""
        own = self.start.fields if self.start else {}
        return {key: value for key, value in trial.fields.items() if value != own.get(key)}

    @property
    def frontier(self) -> tuple[TrialRow, ...]:
        """The Pareto front, sorted by parameters."""
        return tuple(sorted((each for each in self.trials if each.best), key=lambda each: each.parameters))

    @property
    def complete(self) -> int:
        return sum(each.state == "complete" for each in self.trials)


def draw_charts(search: SearchData) -> dict[str, Drawing]:
    """Draw accuracy by parameters and by MACs, named as their files."""
    fields = {"accuracy_parameters": "parameters", "accuracy_macs": "macs"}
    return {name: draw(one(_against(search, field), 3.6)) for name, field in fields.items()}


def html(search: SearchData, charts: Mapping[str, Drawing]) -> str:
    """Render the page."""
    script = asset("report.js")
    labels = {"parameters": "accuracy_parameters", "MACs per image": "accuracy_macs"}
    return (
        environment()
        .get_template("search.html.j2")
        .render(
            search=search,
            charts={label: markup(charts[name]) for label, name in labels.items()},
            style=stylesheet(),
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
        )
    )


def _against(search: SearchData, field: str) -> Draw:
    """Draw the accuracy of complete trials by cost, with the Pareto front and the starting point."""

    def draw(ax: Axes) -> None:
        # Trials that were stopped early are only in the table: their accuracies would dominate the axis.
        complete = [each for each in search.trials if each.state == "complete"]
        _dots(ax, [each for each in complete if not each.best], field, color=GREY, s=16)
        points = sorted(
            ((getattr(each, field), each.accuracy or 0.0) for each in complete),
            key=lambda point: (point[0], -point[1]),
        )
        ax.step(*_envelope(points), where="post", color=BLUE, linewidth=1.2)
        _dots(ax, [each for each in complete if each.best], field, color=BLUE, s=30)
        _dots(ax, [each for each in complete if each.number == 0], field, color=ORANGE, s=90, marker="*")
        named = sorted(search.frontier, key=lambda each: -(each.accuracy or 0.0))[:_MOST_NAMED]
        for row in complete:
            if row.number == 0 or row in named:
                _name(ax, row, field)
        ax.margins(x=0.12, y=0.12)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.xaxis.set_major_formatter(FuncFormatter(_amount))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        ax.set_xlabel("parameters" if field == "parameters" else "multiply-accumulates an image")
        ax.set_title("Accuracy on held-out images", loc="left", fontsize=10)

    return draw


def _name(ax: Axes, row: TrialRow, field: str) -> None:
    text = "starting point" if row.number == 0 else f"{row.number}"
    ax.annotate(
        text,
        (getattr(row, field), row.accuracy or 0.0),
        xytext=(0, -14 if row.number == 0 else 6),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color=INK,
    )


def _dots(ax: Axes, rows: Sequence[TrialRow], field: str, **style: Any) -> None:
    if rows:
        ax.scatter(
            [getattr(each, field) for each in rows],
            [each.accuracy or 0.0 for each in rows],
            zorder=3,
            linewidths=0,
            **style,
        )


def _envelope(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Return the running maximum from left to right.

    >>> _envelope([(1, 0.5), (2, 0.4), (3, 0.7)])
    ([1, 3], [0.5, 0.7])
    """
    xs, ys = list[int](), list[float]()
    for x, y in points:
        if not ys or y > ys[-1]:
            xs.append(x)
            ys.append(y)
    return xs, ys


def _amount(value: float, _: Any = None) -> str:
    """Format a count with its unit.

    >>> _amount(156_736), _amount(27_100_000), _amount(500)
    ('156.7 k', '27.1 M', '500')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.0f}"
