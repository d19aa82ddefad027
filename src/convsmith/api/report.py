"""A run's report, from its saved predictions."""

from pathlib import Path

from convsmith.recipes.session import open_run
from convsmith.reports.report import Result, read_evaluation, write_report
from convsmith.runs.folder import RunFolder


def report(run: Path) -> Result:
    """Make a run's pictures and pages again from its saved predictions; its net is not needed.

    Raises:
        RunError: No such run, one without predictions, or its data set has changed.
    """
    with RunFolder.held(run):
        folder, session = open_run(run)
        return write_report(folder, session, read_evaluation(folder, session))
