"""A grid of 12 runs on loky, Dask and Ray, with and without a killed worker, beside a shell loop.

Each run trains `digits` for `EPOCHS` epochs. The loop starts the commands one after the other, with as many
threads as there are cores; then two at a time with one thread each. The Dask cluster has three workers, that
of Ray two nodes with a core each, all on this machine. A killed worker is one whose run has a checkpoint. The
weights of every run are compared with those of commands with one thread. `EPOCHS` is a variable of the
environment. About ten minutes on two cores; needs the extras `dask` and `ray`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from convsmith.api.grid import grid
from convsmith.recipes.loader import load
from convsmith.system import reading

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

# The clusters are those of the tests.
from helpers.clusters import dask_cluster, ray_cluster, trained_now, wait_for

EPOCHS = int(os.environ.get("EPOCHS", "5"))
SEEDS, CORES = 12, 2


def main() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loop = _loop(folder / "loop", threads=CORES, at_once=1)
        pair = _loop(folder / "pair", threads=1, at_once=CORES)
        expected = [_weights(folder / "pair" / str(seed) / "digits-1") for seed in range(SEEDS)]
        lines = [
            f"{SEEDS} runs of digits, {EPOCHS} epochs each",
            f"{'':<26}{'s':>8}{'of the loop':>13}{'s more per run':>16}{'resumed':>9}  weights",
            _line("a loop, 2 threads", loop, loop),
            _line("two loops, 1 thread each", pair, loop),
        ]
        for engine in ("loky", "dask", "ray"):
            for kill in (False, True):
                place = folder / f"{engine}-{kill}"
                place.mkdir()
                seconds, resumed, weights = _grid(engine, place, kill=kill)
                equal = "equal" if weights == expected else "DIFFERENT"
                title = f"{engine}, a worker killed" if kill else engine
                lines.append(f"{_line(title, seconds, loop)}{resumed:>9}  {equal}")
        return "\n".join(lines)


def _line(name: str, seconds: float, loop: float) -> str:
    return f"{name:<26}{seconds:>8.1f}{seconds / loop:>13.2f}{(seconds - loop) / SEEDS:>16.2f}"


def _loop(folder: Path, *, threads: int, at_once: int) -> float:
    """Start a command for each seed, and return the seconds of all."""

    def train(seed: int) -> None:
        command = [sys.executable, "-m", "convsmith", "train", "digits", f"train.epochs={EPOCHS}"]
        subprocess.run(  # noqa: S603 - this program itself
            [*command, f"seed={seed}", "--runs", str(folder / str(seed))],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as executor:
        list(executor.map(train, range(SEEDS)))
    return time.perf_counter() - began


@contextmanager
def _engine(name: str, folder: Path) -> Iterator[str]:
    if name == "loky":
        yield name
    else:
        with dask_cluster(folder, 3) if name == "dask" else ray_cluster(2) as address:
            yield address


def _grid(engine: str, folder: Path, *, kill: bool) -> tuple[float, int, list[str]]:
    """Return seconds, the number of resumed runs, and the SHA-256 of the weights of each run."""
    with _engine(engine, folder) as address:
        began = time.perf_counter()
        if kill:
            threading.Thread(target=_kill_one, args=(folder / "digits-grid-1",)).start()
        # Ray and Dask have as many workers as cores or more.
        workers = 3 if engine == "dask" else CORES
        result = grid(
            load("digits", [f"train.epochs={EPOCHS}"]),
            f"seed=0..{SEEDS - 1}",
            on=address,
            workers=workers,
            runs=folder,
        )
        seconds = time.perf_counter() - began
    runs = [result.folder / run.name for run in result.runs]
    resumed = sum((run / "resumed.json").is_file() for run in runs)
    return seconds, resumed, [_weights(run) for run in runs]


def _kill_one(folder: Path) -> None:
    wait_for(lambda: bool(trained_now(folder)), "a run with a checkpoint")
    os.kill(trained_now(folder)[0], signal.SIGKILL)


def _weights(run: Path) -> str:
    return reading.sha256(run / "model.safetensors")
