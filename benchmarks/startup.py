"""Start-up time of commands that do not train, as ratios to the bare interpreter."""

import subprocess
import sys
import time
from statistics import median

BARE = "python -c pass"
NOTATION = "C16 C16:s2 / G F10"
COMMANDS = {
    BARE: ["-c", "pass"],
    "convsmith --help": ["-m", "convsmith", "--help"],
    "convsmith summary (notation)": ["-m", "convsmith", "summary", NOTATION, "--input", "3x32x32"],
    "convsmith recipes": ["-m", "convsmith", "recipes"],
    "python -c 'import torch'": ["-c", "import torch"],
}
ROUNDS = 15


def main() -> str:
    """Run the commands in turns and return a table of times and ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(ROUNDS + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603
            # The first round loads the files into the page cache.
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    bare = seconds[BARE]
    rows = [
        f"{name:<32} {median(each):>8.3f} {median(each) / median(bare):>8.1f} {min(each) / min(bare):>12.1f}"
        for name, each in seconds.items()
    ]
    header = f"{'':<32} {'seconds':>8} {'ratio':>8} {'of minima':>12}"
    return "\n".join([header, *rows])
