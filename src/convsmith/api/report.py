"""Rewrite the report of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.modules.access import CodeAccess
from convsmith.reports.report import Result, read_evaluation, write_report
from convsmith.runs.folder import RunFolder
from convsmith.runs.session import open_run

if TYPE_CHECKING:
    from torch import nn


def report(run: str | Path, *, trust_code: bool = False, module: "nn.Module | None" = None) -> Result:
    """Rewrite the plots and the report of a run from its saved predictions, without inference.

    Args:
        run: The run folder.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        RunError: The run is missing or has no predictions, or its data set has changed.
    """
    run = Path(run)
    with RunFolder.lock(run):
        folder, session = open_run(run, access=CodeAccess(trust=trust_code, module=module))
        return write_report(folder, session, read_evaluation(folder, session))
