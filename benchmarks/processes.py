"""One training on two processes beside one process with two threads, and what more processes would take.

Trainings of `cifar10-sprint` are complete commands, in turns: an epoch of all images, in parts of 128.
Seconds are those of the epoch's training, without start and evaluation. The time of a part, of the rest of a
step, and of the exchange are measured apart, and the times of more processes are computed from them. `ROUNDS`
is a variable of the environment; without CIFAR-10 the recipe is `digits`. About six minutes on two cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from benchmarks.measure import in_turns
from benchmarks.throughput import trainer_steps
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.system.device import torch_threads
from convsmith.training.process_group import ProcessGroup

ROUNDS = int(os.environ.get("ROUNDS", "3"))
PART, PARTS = 128, 4
# Parts of the steps that tell a part from the rest of a step, and how many are trained.
FEW, MANY, STEPS = 2, 8, 40
# Of the computed table: a batch of 64 parts, so that 64 processes have one each.
MANY_PARTS, PROCESSES = 64, (1, 2, 4, 8, 16, 32, 64)
# Bytes a second that a process receives, and seconds that an exchange takes at least.
NETWORKS = {"10 Gbit/s": (1.1e9, 2e-4), "100 Gbit/s": (1.1e10, 5e-5)}
_EXCHANGES = 100


def main() -> str:
    recipe = _recipe()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {
            "1 process, 2 threads": (1, 2),
            "2 processes": (2, 1),
            "1 process, 1 thread": (1, 1),
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for number in range(ROUNDS):
            for case, (processes, threads) in cases.items():
                runs = folder / f"{number}-{processes}-{threads}"
                seconds[case].append(_epoch(recipe, processes, threads, runs))
    part, rest = _parts_of_a_step(recipe)
    parameters = _parameters(recipe)
    exchange = _exchange_seconds(parameters * 4, PARTS // 2)
    two = median(seconds["2 processes"]) / (_images(recipe) // (PART * PARTS))
    return "\n".join(
        [
            f"{recipe}: {parameters:,} parameters, {PARTS} parts of {PART} images, {ROUNDS} rounds",
            *_epoch_lines(seconds),
            f"a part: {1e3 * part:.1f} ms on one core; the rest of a step: {1e3 * rest:.1f} ms",
            f"exchange of {PARTS} parts: {1e3 * exchange:.2f} ms, {exchange / two:.1%} of a step",
            "",
            f"Computed: a step of {MANY_PARTS} parts of {PART} images, a core for each process",
            *_computed(part, rest, parameters * 4),
        ]
    )


def _recipe() -> str:
    has_images = (Path(os.environ.get("CONVSMITH_DATA", "")) / "cifar10").is_dir()
    return "cifar10-sprint" if has_images else "digits"


def _epoch(recipe: str, processes: int, threads: int, runs: Path) -> float:
    """Train for an epoch, and return its seconds."""
    overrides = [*_batches_of(PARTS), "train.epochs=1"]
    options = ["--processes", str(processes)] if processes > 1 else []
    subprocess.run(  # noqa: S603 - this program itself
        [sys.executable, "-m", "convsmith", "train", recipe, *overrides, "--runs", str(runs), *options],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return RunFolder(path=next(runs.iterdir())).metrics()[0].train_seconds or 0.0


def _images(recipe: str) -> int:
    from convsmith.data.dataset import load_training_data

    return len(load_training_data(load(recipe).data).train)


def _parameters(recipe: str) -> int:
    from convsmith.data.dataset import load_training_data
    from convsmith.recipes.fit import analyze_recipe

    loaded = load(recipe)
    return analyze_recipe(loaded, load_training_data(loaded.data).info).parameters


def _batches_of(parts: int) -> list[str]:
    return [f"train.batch_size={PART * parts}", f"train.microbatch_size={PART}"]


def _parts_of_a_step(recipe: str) -> tuple[float, float]:
    """Return the seconds of a part and of the rest of a step, on one thread and on images of full size.

    Steps of few and of many parts are trained in turns.
    """
    with torch_threads(1):
        sessions = [
            Session.load(load(recipe, [*_batches_of(parts), "train.progressive=false"]))
            for parts in (FEW, MANY)
        ]
        steps = {str(session.recipe.train.batch_size): trainer_steps(session, 1) for session in sessions}
        rates = in_turns(steps, STEPS)
    seconds = [median(int(each.name) / rate for rate in each.values) for each in rates]
    part = (seconds[1] - seconds[0]) / (MANY - FEW)
    return part, max(seconds[0] - FEW * part, 0.0)


def _epoch_lines(seconds: dict[str, list[float]]) -> list[str]:
    baseline = seconds["1 process, 2 threads"]
    lines = []
    for case, values in seconds.items():
        ratios = [mine / other for mine, other in zip(values, baseline, strict=True)]
        lines.append(
            f"{case:<22}{median(values):>8.1f} s an epoch, ratio {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return lines


def _exchange_seconds(size: int, rows: int) -> float:
    """Return the seconds in which two processes gather rows of bytes from each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seconds")
        spawn(_exchange, args=(size, rows, f"{folder}/store", str(path)), nprocs=2)  # type: ignore[no-untyped-call]
        return float(path.read_text())


def _exchange(rank: int, size: int, rows: int, store: str, path: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    group, own = ProcessGroup(rank=rank, size=2), torch.zeros((rows, size), dtype=torch.uint8)
    for _ in range(3):
        group.gather(own)
    began = time.perf_counter()
    for _ in range(_EXCHANGES):
        group.gather(own)
    if rank == 0:
        Path(path).write_text(str((time.perf_counter() - began) / _EXCHANGES))
    distributed.destroy_process_group()


def _computed(part: float, rest: float, size: int) -> list[str]:
    """Return a table of speed-ups: parts are divided, the rest of a step and the exchange are not."""
    lines = [f"{'processes':>9}" + "".join(f"{name:>14}" for name in NETWORKS)]
    alone = MANY_PARTS * part + rest
    for processes in PROCESSES:
        cells = []
        for bandwidth, latency in NETWORKS.values():
            received = MANY_PARTS * size * (processes - 1) / processes
            exchange = received / bandwidth + latency if processes > 1 else 0.0
            cells.append(f"x{alone / (MANY_PARTS * part / processes + rest + exchange):.1f}")
        lines.append(f"{processes:>9}" + "".join(f"{cell:>14}" for cell in cells))
    return lines
