"""Kill a training at random moments, resume it each time, and compare the final weights and metrics.

    python tests/helpers/kills.py 200 digits
    python tests/helpers/kills.py 20 mnist-classic --seed 3
    python tests/helpers/kills.py 8 digits train.epochs=16 train.optimizer=muon
    python tests/helpers/kills.py 8 digits model.module=tests/helpers/odd_nets.py:PythonRandom

The training runs once without interruption. Then one moment per kill is drawn over its duration, from the
start of the process to the end of the report, and a second training is killed at each of them, in order.
The trainings run in forked processes, so that a kill needs no new start of Python, and are ended by SIGKILL,
which cannot be handled.
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
    """Durations of an uninterrupted training in seconds: before the first epoch, one epoch, and total."""

    start: float
    epoch: float
    total: float

    def until(self, moment: float, epochs_done: int, chance: random.Random) -> float:
        """Return how long a process with `epochs_done` epochs runs until a moment of the training.

        A moment in the past becomes a random moment of its start.
        """
        left = moment - epochs_done * self.epoch
        return left if left > self.start else chance.uniform(0, self.start)


def main(kills: int, recipe: Recipe, seed: int, folder: Path) -> str:
    """Return a summary line. Raises AssertionError if a training ends differently."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    expected, times = uninterrupted(recipe, folder / "uninterrupted")
    moments = sorted(chance.uniform(0, times.total) for _ in range(kills))
    phases: Counter[str] = Counter()
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
            # Killed before training started: its folder stays, and the next training gets the next number.
            number += run.is_dir()
            child, done = fork(lambda: cs.train(recipe, runs=folder / "runs")), 0
        else:
            child, done = fork(lambda: cs.resume(run, trust_code=True)), epochs_done(run)  # noqa: B023 - called at once
        if moments:
            time.sleep(times.until(moments.pop(0), done, chance))
            os.kill(child, signal.SIGKILL)
        if wait(child) == signal.SIGKILL:
            phases[phase(folder / "runs" / f"{recipe.name}-{number}", recipe)] += 1
        elif sum(phases.values()) + len(moments) < kills:
            # It was faster than the kill.
            bisect.insort(moments, chance.uniform(0, times.total))
    where = ", ".join(f"{count} {name}" for name, count in sorted(phases.items()))
    return (
        f"{recipe.name}, seed {seed}: {phases.total()} kills ({where}) over {compared} "
        f"training{'s' * (compared > 1)} of {recipe.train.epochs_run} epochs: weights and metrics are equal"
    )


def uninterrupted(recipe: Recipe, runs: Path) -> tuple[object, Times]:
    """Train without interruption; return the final state and the durations."""
    began = time.time()
    wait(fork(lambda: cs.train(recipe, runs=runs)))
    run = runs / f"{recipe.name}-1"
    start, trained, end = (
        (run / name).stat().st_mtime - began for name in ("summary.txt", STATE, "manifest.json")
    )
    return ending(run), Times(start=start, epoch=(trained - start) / recipe.train.epochs_run, total=end)


def epochs_done(run: Path) -> int:
    return len(RunFolder(path=run).load_checkpoint().state.history)


def phase(run: Path, recipe: Recipe) -> str:
    """Return the phase of the training in which a run was killed."""
    if not (run / STATE).is_file():
        return "before the first epoch"
    return "in the report" if epochs_done(run) == recipe.train.epochs_run else "in epochs or resuming"


def fork(action: Callable[[], object]) -> int:
    """Call a function in a forked process; return its process id."""
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
    """Wait for a process to end; return the signal that ended it, or 0. Other failures are unexpected."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, -signal.SIGKILL}, code
    return -code


def ending(run: Path) -> tuple[str, list[list[str]]]:
    """Return what must be equal: the weights, and the metrics without durations."""
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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        recipe = load(arguments.recipe, arguments.overrides)
        sys.stdout.write(main(arguments.kills, recipe, arguments.seed, Path(scratch)) + "\n")
