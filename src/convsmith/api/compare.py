"""Compare runs."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.reports import comparison
from convsmith.reports.comparison import Comparison
from convsmith.system import folders


def compare(runs: Sequence[str | Path], out: str | Path = "comparison") -> Comparison:
    """Compare runs by their saved predictions: table, groups, differing fields, curves, pairs.

    Args:
        runs: The run folders, at least two.
        out: The folder for compare.html, compare.md and compare.json.

    Raises:
        RunError: A run is missing, damaged or not evaluated, or there are fewer than two.
    """
    out = Path(out)
    folders.check_destination(out)
    return comparison.compare([Path(run) for run in runs], out)
