"""Rewrite the report of a run."""

from pathlib import Path

from convsmith.reports.report import Result, read_evaluation, write_report
from convsmith.runs.folder import RunFolder
from convsmith.runs.session import open_run


def report(run: str | Path) -> Result:
    """Rewrite the plots and the report of a run from its saved predictions, without inference.

    Raises:
        RunError: The run is missing or has no predictions, or its data set has changed.
    """
    run = Path(run)
    with RunFolder.lock(run):
        folder, session = open_run(run)
        return write_report(folder, session, read_evaluation(folder, session))
