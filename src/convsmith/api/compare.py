"""Comparison of runs."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.reports import comparison
from convsmith.reports.comparison import Comparison
from convsmith.system import folders


def compare(runs: Sequence[Path], out: Path = Path("comparison")) -> Comparison:
    """Compare runs by their saved predictions: table, groups, what differs, curves, pairs.

    Args:
        runs: The folders of at least two runs.
        out: Where compare.html, compare.md and compare.json go.

    Raises:
        RunError: A run is missing, damaged or was not evaluated, or there are fewer than two.
    """
    folders.check_destination(out)
    return comparison.compare(runs, out)
