"""Kill a training at random moments, go on with it each time, and compare what it ends with.

    python tests/helpers/kills.py 200 digits
    python tests/helpers/kills.py 20 mnist-classic --seed 3
    python tests/helpers/kills.py 8 digits train.epochs=16 train.optimizer=muon

The training runs once undisturbed. Then as many moments as kills are drawn over all of its time, from the
start of the process to the end of the report, and a second training is killed at each of them, in their
order. The trainings run in forked processes, so that a kill costs no new start of Python, and are ended by
SIGKILL, which nothing can handle.
"""

import argparse
import bisect
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import convsmith as cs
from convsmith.api import train  # noqa: F401 - loaded once, before the processes fork
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import STATE, RunFolder
from convsmith.system import reading


@dataclass(frozen=True)
class Times:
    """Of an undisturbed training, in seconds: before the first epoch, an epoch, all with the report."""

    start: float
    epoch: float
    whole: float

    def until(self, moment: float, epochs_done: int, chance: random.Random) -> float:
        """How long a process runs that has so many epochs behind it until it is at a moment of the training.

        A moment that it is past already becomes one in its start.
        """
        left = moment - epochs_done * self.epoch
        return left if left > self.start else chance.uniform(0, self.start)


def main(kills: int, recipe: Recipe, seed: int, folder: Path) -> str:
    """What was done, as one line. Raises AssertionError where a training ends differently."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    expected, times = undisturbed(recipe, folder / "whole")
    moments = sorted(chance.uniform(0, times.whole) for _ in range(kills))
    places: Counter[str] = Counter()
    compared, number = 0, 1
    while True:
        run = folder / "runs" / f"{recipe.name}-{number}"
        if (run / "manifest.json").is_file():
            assert ending(run) == expected, run
            compared, number = compared + 1, number + 1
            if not moments:
                break
            continue
        if not (run / STATE).is_file():
            # Killed before the training began: its folder stays as it is, and another takes the next number.
            number += run.is_dir()
            child, done = fork(lambda: cs.train(recipe, runs=folder / "runs")), 0
        else:
            child, done = fork(lambda: cs.resume(run)), epochs_done(run)  # noqa: B023 - called at once
        if moments:
            time.sleep(times.until(moments.pop(0), done, chance))
            os.kill(child, signal.SIGKILL)
        if wait(child) == signal.SIGKILL:
            places[place(folder / "runs" / f"{recipe.name}-{number}", recipe)] += 1
        elif sum(places.values()) + len(moments) < kills:
            # It was faster than the kill.
            bisect.insort(moments, chance.uniform(0, times.whole))
    where = ", ".join(f"{count} {name}" for name, count in sorted(places.items()))
    return (
        f"{recipe.name}, seed {seed}: {places.total()} kills ({where}) over {compared} "
        f"training{'s' * (compared > 1)} of {recipe.train.epochs_run} epochs: weights and metrics are equal"
    )


def undisturbed(recipe: Recipe, runs: Path) -> tuple[object, Times]:
    """Train in peace: what it ends with, and how long its parts took."""
    began = time.time()
    wait(fork(lambda: cs.train(recipe, runs=runs)))
    run = runs / f"{recipe.name}-1"
    start, trained, end = (
        (run / name).stat().st_mtime - began for name in ("summary.txt", STATE, "manifest.json")
    )
    return ending(run), Times(start=start, epoch=(trained - start) / recipe.train.epochs_run, whole=end)


def epochs_done(run: Path) -> int:
    return len(RunFolder(path=run).load_checkpoint().state.history)


def place(run: Path, recipe: Recipe) -> str:
    """Where in its training a run was killed."""
    if not (run / STATE).is_file():
        return "before the first epoch"
    return "in the report" if epochs_done(run) == recipe.train.epochs_run else "in epochs or resuming"


def fork(action: Callable[[], object]) -> int:
    """Do something in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """Wait for a process's end; the signal that ended it, or 0. No other failure is expected."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, -signal.SIGKILL}, code
    return -code


def ending(run: Path) -> tuple[str, list[list[str]]]:
    """What must be equal: the weights, and the metrics without their times."""
    rows = [line.split(",")[:-2] for line in (run / "metrics.csv").read_text(encoding="utf-8").splitlines()]
    temporaries = list(run.rglob(".*"))
    assert not temporaries, temporaries
    return reading.sha256(run / "model.safetensors"), rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        told = main(asked.kills, load(asked.recipe, asked.overrides), asked.seed, Path(scratch))
        sys.stdout.write(told + "\n")
