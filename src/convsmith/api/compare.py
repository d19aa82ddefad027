"""Compare runs."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.modules.access import CodeAccess
from convsmith.reports import comparison
from convsmith.reports.comparison import Comparison
from convsmith.system import folders


def compare(
    runs: Sequence[str | Path], out: str | Path = "comparison", *, trust_code: bool = False
) -> Comparison:
    """Compare runs by their saved predictions: table, groups, differing fields, curves, pairs.

    Args:
        runs: The run folders, at least two.
        out: The folder for compare.html, compare.md and compare.json.
        trust_code: Whether to run the code of runs whose net is a module.

    Raises:
        UntrustedCodeError: The net of a run is a module, and its code may not be run.
        RunError: A run is missing, damaged or not evaluated, or there are fewer than two.
    """
    out = Path(out)
    folders.check_destination(out)
    return comparison.compare([Path(run) for run in runs], out, CodeAccess(trust=trust_code))
