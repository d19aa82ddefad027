"""Rewrite the report of a run, or make that of weights that were trained elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.api.evaluate import evaluate
from convsmith.models.arguments import ModelArguments, named_data
from convsmith.modules.access import CodeAccess
from convsmith.reports.report import Result, read_evaluation, write_report
from convsmith.runs.folder import RunFolder
from convsmith.runs.session import open_run

if TYPE_CHECKING:
    from torch import nn


def report(
    run: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: object = None,
    runs: str | Path = "runs",
    trust_code: bool = False,
    module: "nn.Module | None" = None,
) -> Result:
    """Rewrite the plots and the report of a run from its saved predictions, without inference.

    With `weights`, make a run of weights that were trained elsewhere, and evaluate it, as `evaluate` does.

    Args:
        run: The run folder; with `weights` as for `evaluate`.
        overrides: As for `evaluate`.
        weights: As for `evaluate`.
        data: As for `evaluate`.
        runs: As for `evaluate`.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        RunError: The run is missing or has no predictions, or its data set has changed.
    """
    access = CodeAccess(trust=trust_code, module=module)
    with named_data(run, weights, data, overrides) as source:
        ModelArguments.of(run, weights, source, overrides, access)
        if weights is not None:
            return evaluate(run, *overrides, weights=weights, data=source, runs=runs)
        run = Path(run)
        with RunFolder.lock(run):
            folder, session = open_run(run, access=access)
            return write_report(folder, session, read_evaluation(folder, session))
