"""Accuracy by seconds of training: the sprint recipes with five seeds each, and a plain loop.

Accuracy is that of complete runs in `runs/sprint`, which may be trained beside other work. Seconds are
measured separately, on an otherwise idle machine, and cached in `runs/sprint/seconds.json`: without decoding
and evaluation, with the computation of the first layer and of the final statistics. Draws
`docs/images/accuracy-seconds.png`.
"""

import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from benchmarks.measure import cached, whole_training
from benchmarks.plain import PlainLoop
from convsmith import train
from convsmith.recipes.loader import load, recipe_names
from convsmith.recipes.session import Session
from convsmith.reports import charts, style
from convsmith.runs.folder import RunFolder
from convsmith.text import format_duration

SEEDS, RUNS, PICTURE = range(5), Path("runs/sprint"), Path("docs/images/accuracy-seconds.png")
ROUNDS, PLAIN_STEPS = 1, 40
# Test accuracy by epoch, from the log of the course project that `cifar10-classic` reproduces.
COURSE_LOG = {
    1: 0.4379, 2: 0.5367, 3: 0.5830, 4: 0.6032, 5: 0.6248,
    10: 0.7095, 20: 0.7795, 30: 0.8055, 40: 0.8287, 50: 0.8379,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A recipe's seconds of training by round, and test accuracy after the last epoch by seed."""

    name: str
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]

    def line(self) -> str:
        low, high = min(self.accuracies), max(self.accuracies)
        spread = f"{mean(self.accuracies):.2%} ({low:.2%} to {high:.2%})"
        seconds = f"{mean(self.seconds):.1f} ({min(self.seconds):.1f} to {max(self.seconds):.1f})"
        each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in self.accuracies)
        return f"{self.name:<22} {seconds:>24} {spread:>28} {stdev(self.accuracies):>7.2%}  {each}"


def main() -> str:
    names = [name for name in recipe_names() if name.startswith("cifar10-sprint")]
    recipes = sorted((measured(name) for name in names), key=lambda each: mean(each.seconds))
    epoch = plain_seconds_per_epoch()
    figure = charts.side_by_side(
        [lambda ax: draw(ax, recipes, epoch)],
        "Accuracy on CIFAR-10 by seconds of training",
        "Test images after the last epoch, mean and range of 5 seeds; 2 CPU cores",
        height=4.8,
        width=8,
    )
    style.save(figure, PICTURE)
    return "\n".join(
        [
            f"{'recipe':<22} {'seconds (range)':>24} {'accuracy (range)':>28} {'sd':>7}  seeds 0 to 4, %",
            *(each.line() for each in recipes),
            f"\nplain loop, cifar10-classic: {epoch:.0f} s per epoch, of the course's {max(COURSE_LOG)}",
            f"drawn: {PICTURE}",
        ]
    )


def measured(name: str) -> Measured:
    accuracies = tuple(test_accuracy(name, seed) for seed in SEEDS)
    seconds = (
        cached(RUNS / "seconds.json", f"{name}, round {count}", partial(training_seconds, name))
        for count in range(ROUNDS)
    )
    return Measured(name=name, seconds=tuple(seconds), accuracies=accuracies)


def test_accuracy(name: str, seed: int) -> float:
    """Return the accuracy after the last epoch of a run; train it if it is missing."""
    done = RUNS / f"{name}-seed{seed}"
    if not (done / "manifest.json").is_file():
        result = train(load(name, [f"seed={seed}"]), runs=RUNS)
        result.folder.rename(done)
    accuracy = RunFolder.open(done).metrics()[-1].test_accuracy
    assert accuracy is not None, "every run has a test set"
    return accuracy


def training_seconds(name: str) -> float:
    session = Session.load(load(name))
    return sum(metrics.train_seconds for metrics in whole_training(session))


def draw(ax: Axes, recipes: list[Measured], plain_epoch: float) -> None:
    """Draw our recipes with their ranges, and the course's log at the speed of a plain loop."""
    seconds, accuracies, low, high = zip(
        *((mean(e.seconds), mean(e.accuracies), min(e.accuracies), max(e.accuracies)) for e in recipes),
        strict=True,
    )
    reach = np.abs(np.array([low, high]) - accuracies)
    ax.errorbar(seconds, accuracies, yerr=reach, color=style.BLUE, marker="o", capsize=3)
    for x, y in zip(seconds, accuracies, strict=True):
        ax.annotate(
            f"{x:.0f} s: {y:.1%}", (x, y), xytext=(-4, 8), textcoords="offset points", ha="right",
            color=style.BLUE, weight="bold",
        )  # fmt: skip
    course = [plain_epoch * epoch for epoch in COURSE_LOG]
    ax.plot(course, list(COURSE_LOG.values()), color=style.GREY, marker=".")
    ax.annotate(
        "the course's net and log,\nat the speed of a plain loop", (10 * plain_epoch, COURSE_LOG[10]),
        xytext=(10, -6), textcoords="offset points", va="top", color=style.SOFT,
    )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(left=10)
    ax.set_xticks([30, 60, 120, 300, 1200, 3600, 7200])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value)))
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("training time (min:s, h:min:s)")
    ax.set_ylabel("test accuracy")


def plain_seconds_per_epoch() -> float:
    """Extrapolate from some steps, after those in which the workers start."""
    session = Session.load(load("cifar10-classic"))
    steps = PlainLoop(session.recipe, session.data).epoch()
    list(islice(steps, PLAIN_STEPS // 4))
    began = time.perf_counter()
    images = sum(islice(steps, PLAIN_STEPS))
    return len(session.data.train) * (time.perf_counter() - began) / images


if __name__ == "__main__":
    print(main())
