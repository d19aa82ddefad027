"""What a search has found, as one self-contained page and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from convsmith.evaluation.metrics import Interval
from convsmith.reports.charts import Draw, one, side_by_side
from convsmith.reports.html import asset, drawing, environment, policy
from convsmith.reports.style import BLUE, GREY, INK, ORANGE

# Points of the frontier that bear their number, the most accurate.
_MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as far as it came.

    Attributes:
        number: 0 is the starting point.
        parent: The trial that it was changed from.
        changes: What was changed, in words.
        net: In the notation.
        fields: Values of the training, by key.
        state: "complete", "waits", "failed".
        reason: Why it failed.
        epochs: How many it was trained for.
        accuracy: On held-out training images, from 0 to 1; None before the first rung.
        interval: Its 95 % interval.
        best: Whether it is on the frontier.
        recipe: The file that holds it as a recipe, beside the page; empty where there is none.
        seconds: Of training and evaluation.
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
    """All that the page says.

    Attributes:
        recipe: The name of the starting recipe.
        brief: What every net fulfils, as it was named.
        data: What the images are.
        trained_on: Images that candidates learn from.
        held_out: Training images that they are compared on.
        epochs: Of a whole training.
        rungs: After how many epochs trials are compared.
        factor: One trial in so many goes on from a rung.
        max_macs: What no candidate goes beyond.
        seed: Of the search.
        refused: Candidates that the arithmetic refused.
        seconds: Of all training together.
        notes: What a reader of the accuracies must know.
        trials: By number.
        commands: That train what was found, by trial.
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
        """Those that are not as at the starting point."""
        own = self.start.fields if self.start else {}
        return {key: value for key, value in trial.fields.items() if value != own.get(key)}

    @property
    def frontier(self) -> tuple[TrialRow, ...]:
        """From the fewest parameters to the most."""
        return tuple(sorted((each for each in self.trials if each.best), key=lambda each: each.parameters))

    @property
    def complete(self) -> int:
        return sum(each.state == "complete" for each in self.trials)


def html(facts: SearchData) -> str:
    """The page as text."""
    script = asset("report.js")
    panels = {"parameters": _against(facts, "parameters"), "MACs an image": _against(facts, "macs")}
    return (
        environment()
        .get_template("search.html.j2")
        .render(
            facts=facts,
            charts={name: drawing(one(panel, 3.6)) for name, panel in panels.items()},
            style=Markup(asset("style.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(script),
        )
    )


def picture(facts: SearchData) -> Figure:
    """Accuracy against parameters and against MACs."""
    told = (
        f"{facts.recipe}, {len(facts.trials)} trials of up to {facts.epochs} epochs; accuracy on "
        f"{facts.held_out:,} held-out training images"
    )
    return side_by_side([_against(facts, "parameters"), _against(facts, "macs")], "Search", told)


def _against(facts: SearchData, field: str) -> Draw:
    """Accuracy by what it costs: whole trainings, the frontier among them, and the starting point."""

    def draw(ax: Axes) -> None:
        # What was trained in part is in the table: it would press all that counts into one line.
        whole = [each for each in facts.trials if each.state == "complete"]
        _dots(ax, [each for each in whole if not each.best], field, color=GREY, s=16)
        points = sorted(
            ((getattr(each, field), each.accuracy or 0.0) for each in whole),
            key=lambda point: (point[0], -point[1]),
        )
        ax.step(*_envelope(points), where="post", color=BLUE, linewidth=1.2)
        _dots(ax, [each for each in whole if each.best], field, color=BLUE, s=30)
        _dots(ax, [each for each in whole if each.number == 0], field, color=ORANGE, s=90, marker="*")
        named = sorted(facts.frontier, key=lambda each: -(each.accuracy or 0.0))[:_MOST_NAMED]
        for row in whole:
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


def _dots(ax: Axes, rows: Sequence[TrialRow], field: str, **look: Any) -> None:
    if rows:
        ax.scatter(
            [getattr(each, field) for each in rows],
            [each.accuracy or 0.0 for each in rows],
            zorder=3,
            linewidths=0,
            **look,
        )


def _envelope(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """The best so far from left to right.

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
    """A count with its unit.

    >>> _amount(156_736), _amount(27_100_000), _amount(500)
    ('156.7 k', '27.1 M', '500')
    """
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.0f}"
