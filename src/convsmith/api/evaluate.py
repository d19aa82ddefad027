"""Evaluate a run."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.evaluation.duplicates import find_duplicates
from convsmith.evaluation.label_errors import find_label_errors
from convsmith.evaluation.robustness import evaluate_robustness
from convsmith.models.prediction_check import with_prediction_check
from convsmith.modules.access import CodeAccess
from convsmith.reports.report import Result, write_report
from convsmith.runs.evaluation import evaluate_run, load_net
from convsmith.runs.folder import ANALYSES, RunFolder
from convsmith.runs.session import open_run

if TYPE_CHECKING:
    from torch import nn


def evaluate(
    run: str | Path,
    *,
    robustness: bool = False,
    duplicates: bool = False,
    label_errors: bool = False,
    refresh: bool = False,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
) -> Result:
    """Evaluate a run on its training and test images, and rewrite its plots and report.

    Args:
        run: The run folder.
        robustness: Also evaluate corrupted test images: six corruptions at five strengths.
        duplicates: Also list near-duplicates of test images in the training set.
        label_errors: Also list test labels that are probably wrong. This requires cleanlab.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        RunError: The run is missing or damaged, or its data set has changed.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        MissingExtraError: `label_errors` is set, but cleanlab is not installed.
    """
    run = Path(run)
    with RunFolder.lock(run):
        folder, session = open_run(run, access=CodeAccess(trust=trust_code, module=module), refresh=refresh)
        # The others are written anew.
        requested = dict(zip(ANALYSES, (robustness, duplicates, label_errors), strict=True))
        folder.verify(*(name for name in ANALYSES if not requested[name]))
        with session.threads():
            evaluation = with_prediction_check(folder, session, evaluate_run(folder, session))
            data = session.data
            analyses: dict[str, Any] = {}
            if label_errors:
                analyses["label_errors"] = find_label_errors(evaluation.predictions, data.class_names)
            if duplicates:
                analyses["duplicates"] = find_duplicates(data.train, data.test)
            if robustness:
                net, normalize, dtype = load_net(folder, session)
                analyses["robustness"] = evaluate_robustness(net, data.test, normalize, dtype)
            for record in analyses.values():
                folder.write(record)
            return replace(write_report(folder, session, evaluation), **analyses)
