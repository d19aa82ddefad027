"""Growth of time and memory with the number of images, their size, the net's width and the batch."""

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

BASE = {"images": 4096, "size": 32, "width": 32, "batch": 128}
AXES = {
    "images": (4096, 16384, 65536),
    "size": (16, 32, 64),
    "width": (16, 32, 64),
    "batch": (64, 128, 256, 512),
}
STEPS = 10


@dataclass(frozen=True)
class Point:
    seconds_per_image: float
    peak_megabytes: float


def main() -> str:
    lines = [f"{'axis':<8} {'value':>8} {'us per image':>12} {'growth':>8} {'peak MB':>9} {'growth':>8}"]
    for axis, values in AXES.items():
        points = [measure({**BASE, axis: value}) for value in values]
        growth = [("", ""), *(_growth(before, after) for before, after in pairwise(points))]
        lines += [
            f"{axis:<8} {value:>8,} {1e6 * point.seconds_per_image:>12,.0f} {time:>8} "
            f"{point.peak_megabytes:>9,.0f} {memory:>8}"
            for value, point, (time, memory) in zip(values, points, growth, strict=True)
        ]
    return "\n".join(lines)


def _growth(before: Point, after: Point) -> tuple[str, str]:
    return (
        f"x{after.seconds_per_image / before.seconds_per_image:.2f}",
        f"x{after.peak_megabytes / before.peak_megabytes:.2f}",
    )


def measure(case: dict[str, int]) -> Point:
    """Measure in a separate process, because peak memory is only known per process."""
    arguments = [f"{key}={value}" for key, value in case.items()]
    done = subprocess.run(  # noqa: S603 - this module itself
        [sys.executable, "-m", "benchmarks.scaling", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    seconds, megabytes = map(float, done.stdout.split())
    return Point(seconds, megabytes)


def _measure_here(case: dict[str, int]) -> None:
    import time

    import numpy as np

    from benchmarks.throughput import trainer_steps
    from convsmith.data.dataset import ImageDataset, Split
    from convsmith.data.images.input_rule import InputRule
    from convsmith.recipes.loader import load
    from convsmith.recipes.session import TrainingSession

    rng = np.random.default_rng(0)
    shape = (case["images"], case["size"], case["size"], 3)
    split = Split(
        images=rng.integers(0, 256, shape, dtype=np.uint8), labels=rng.integers(0, 10, case["images"])
    )
    size = case["size"]
    rule = InputRule(channels=3, height=size, width=size, resize_policy="crop", background=(0, 0, 0))
    data = ImageDataset(
        title="noise", location="", identity="", fingerprint="", class_names=tuple("0123456789"), train=split,
        validation=None, test=split, test_is_split_off=False, mean=(0.5,) * 3, std=(0.25,) * 3,
        rule=rule,
    )  # fmt: skip
    width = case["width"]
    net = f"C{width} C{width}:s2 C{2 * width}:s2 / G F10"
    overrides = [f"model.net={net}", f"train.batch_size={case['batch']}", "train.precision=fp32"]
    recipe = load("cifar10-classic", [*overrides, "train.microbatch_size=32"])
    session = TrainingSession.of(recipe, data)
    run = trainer_steps(session, STEPS)
    run()
    began = time.perf_counter()
    seen = run()
    print((time.perf_counter() - began) / seen, _peak_megabytes())


def _peak_megabytes() -> float:
    """Read the kernel's record; `getrusage` starts with the peak of the parent process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


if __name__ == "__main__":
    _measure_here({key: int(value) for key, value in (text.split("=") for text in sys.argv[1:])})
