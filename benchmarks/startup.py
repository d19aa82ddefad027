"""Seconds from start to exit of commands that do not train."""

import subprocess
import sys
import time
from statistics import median

COMMANDS = (
    ("python -c pass", ["-c", "pass"]),
    ("convsmith --help", ["-m", "convsmith", "--help"]),
    ("convsmith recipes", ["-m", "convsmith", "recipes"]),
    ("convsmith summary (10 layers)", ["-m", "convsmith", "summary", "C8*9 / G F10", "--input", "3x32x32"]),
    ("python -c 'import torch'", ["-c", "import torch"]),
)
ROUNDS = 9


def main() -> str:
    seconds: dict[str, list[float]] = {name: [] for name, _ in COMMANDS}
    for round_number in range(ROUNDS + 1):
        for name, arguments in COMMANDS:
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603
            # The first round warms the file cache.
            if round_number:
                seconds[name].append(time.perf_counter() - began)
    rows = [
        f"{name:<32} {median(times):>8.3f} {f'{min(times):.3f} to {max(times):.3f}':>18}"
        for name, times in seconds.items()
    ]
    return "\n".join([f"{'':<32} {'seconds':>8} {'range':>18}", *rows])
