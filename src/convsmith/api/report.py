"""A run's report, from its saved predictions."""

from pathlib import Path

from convsmith.recipes.session import open_run
from convsmith.reports import report as reports
from convsmith.reports.report import Result
from convsmith.runs.folder import RunFolder


def report(run: Path) -> Result:
    """Make a run's pictures and pages again from its saved predictions; its net is not needed.

    Raises:
        RunError: No such run, one without predictions, or its data set has changed.
    """
    with RunFolder.held(run):
        folder, prepared = open_run(run)
        train, found = reports.saved(folder, prepared)
        facts = reports.metrics_for(prepared, found)
        return reports.report(folder, prepared, train=train, predictions=found, metrics=facts)
