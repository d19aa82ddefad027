"""Accuracy that seconds of training buy: the sprint recipes, five seeds each; a plain loop beside them.

The seconds are those of training: data decoded before, evaluation outside the clock, the making of the first
layer and of the final statistics inside. Runs that are done are not run again; remove `runs/sprint` to begin
anew.
"""

import time
from itertools import islice
from pathlib import Path
from statistics import mean, stdev

from benchmarks.plain import PlainLoop
from convsmith.recipe.loader import load, shelf
from convsmith.training.run import RunFolder
from convsmith.verbs import train
from convsmith.workflow.prepare import prepare

SEEDS, RUNS = range(5), Path("runs/sprint")
COURSE_EPOCHS, PLAIN_STEPS = 50, 40


def main() -> str:
    lines = [f"{'recipe':<22} {'seconds (range)':>24} {'accuracy (range)':>28} {'sd':>7}"]
    for name in (name for name in shelf() if name.startswith("cifar10-sprint")):
        found = [outcome(name, seed) for seed in SEEDS]
        seconds, accuracies = ([each[column] for each in found] for column in (0, 1))
        spread = f"{mean(accuracies):.2%} ({min(accuracies):.2%} to {max(accuracies):.2%})"
        taken = f"{mean(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        lines.append(f"{name:<22} {taken:>24} {spread:>28} {stdev(accuracies):>7.2%}")
    lines.append(
        f"\nplain loop, cifar10-classic: {plain_seconds_per_epoch():.0f} s an epoch, of the course's 50"
    )
    return "\n".join(lines)


def outcome(name: str, seed: int) -> tuple[float, float]:
    """Seconds of training and test accuracy after the last epoch."""
    done = RUNS / f"{name}-seed{seed}"
    if not (done / "manifest.json").is_file():
        result = train(load(name, [f"seed={seed}"]), runs=RUNS)
        result.folder.rename(done)
    rows = RunFolder.open(done).metrics()
    return sum(row["train_seconds"] for row in rows), rows[-1]["test_accuracy"]


def plain_seconds_per_epoch() -> float:
    """From its pace over some steps, after those in which its workers start."""
    prepared = prepare(load("cifar10-classic"))
    steps = PlainLoop(prepared.recipe, prepared.data).epoch()
    list(islice(steps, PLAIN_STEPS // 4))
    began = time.perf_counter()
    images = sum(islice(steps, PLAIN_STEPS))
    return len(prepared.data.train) * (time.perf_counter() - began) / images


if __name__ == "__main__":
    print(main())
