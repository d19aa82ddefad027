"""Kill a training at random moments, go on with it each time, and compare what it ends with.

`python tests/faults/kills.py 200` is what `make soak` does; a test does it with a few. The trainings run in
forked processes, so that a kill costs no new start of Python, and are ended by SIGKILL, which nothing can
handle.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import convsmith as cs
from convsmith import files
from convsmith.recipe.loader import load
from convsmith.workflow import train  # noqa: F401 - loaded once, before the processes fork

# Long enough that most kills come while it trains, short enough that some come earlier.
MOST_SECONDS = 1.5
OVERRIDES = ("model.net=C4 C6:s2 / G F10", "name=killed", "train.ema=0.9", "train.optimizer=muon")


def main(kills: int, seed: int, folder: Path) -> str:
    """What was done, as one line. Raises AssertionError where a training ends differently."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    recipe = load("digits", [*OVERRIDES, f"train.epochs={2 * kills}"])
    wait(fork(lambda: cs.train(recipe, runs=folder / "whole")))
    expected = ending(folder / "whole" / "killed-1")
    done, compared, number = 0, 0, 1
    while True:
        run = folder / "runs" / f"killed-{number}"
        if (run / "manifest.json").is_file():
            assert ending(run) == expected, run
            compared, number = compared + 1, number + 1
            continue
        if compared and done >= kills:
            return (
                f"{done} kills over {compared} trainings of {2 * kills} epochs: weights and metrics are equal"
            )
        if not (run / "state.safetensors").is_file():
            # Killed before the training began: its folder stays as it is, and another takes the next number.
            number += run.is_dir()
            child = fork(lambda: cs.train(recipe, runs=folder / "runs"))
        else:
            child = fork(lambda: cs.resume(run))  # noqa: B023 - called before the next round
        if done < kills:
            time.sleep(chance.uniform(0, MOST_SECONDS))
            os.kill(child, signal.SIGKILL)
        done += wait(child) == signal.SIGKILL


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
    return files.sha256(run / "model.safetensors"), rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [int(each) for each in sys.argv[1:]]
        print(main(arguments[0], arguments[1] if len(arguments) > 1 else 0, Path(scratch)))  # noqa: T201
