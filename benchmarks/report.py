"""CPU seconds of a report of digits, as complete processes."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import convsmith as cs

ROUNDS = 5
CODE = "import sys, pathlib, convsmith; convsmith.report(pathlib.Path(sys.argv[1]))"


def main() -> str:
    """Train for two epochs, report several times, and return the times and sizes."""
    with tempfile.TemporaryDirectory() as runs:
        result = cs.train(cs.load_recipe("digits", "train.epochs=2"), runs=Path(runs))
        seconds = [_cpu_seconds([sys.executable, "-c", CODE, str(result.folder)]) for _ in range(ROUNDS + 1)]
        plots = sum(path.stat().st_size for path in (result.folder / "plots").iterdir())
        page = result.page.stat().st_size
    # The first round loads the files into the page cache.
    rounds = seconds[1:]
    return (
        f"{median(rounds):.2f} CPU seconds ({min(rounds):.2f} to {max(rounds):.2f}); "
        f"page {page / 1024:.0f} KiB, pictures {plots / 1024:.0f} KiB"
    )


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
