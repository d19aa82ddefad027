"""Evaluate a run, or weights that were trained elsewhere."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.evaluation.duplicates import find_duplicates
from convsmith.evaluation.label_errors import find_label_errors
from convsmith.evaluation.robustness import evaluate_robustness
from convsmith.models.arguments import ModelArguments
from convsmith.models.external import external_run, log_evaluation
from convsmith.models.prediction_check import with_prediction_check
from convsmith.modules.access import CodeAccess
from convsmith.recipes.in_memory import named_source
from convsmith.recipes.session import Session
from convsmith.reports.report import Result, write_report
from convsmith.runs.evaluation import Evaluation, evaluate_run, load_net
from convsmith.runs.folder import ANALYSES, RunFolder
from convsmith.runs.session import open_run, run_data

if TYPE_CHECKING:
    from torch import nn


def evaluate(
    run: str | Path,
    *overrides: str,
    weights: str | Path | None = None,
    data: object = None,
    runs: str | Path = "runs",
    robustness: bool = False,
    duplicates: bool = False,
    label_errors: bool = False,
    refresh: bool = False,
    trust_code: bool = False,
    module: "nn.Module | None" = None,
) -> Result:
    """Evaluate a run on its training and test images, and rewrite its plots and report.

    With `weights`, make a run of weights that were trained elsewhere first, without training.

    Args:
        run: The run folder; with `weights` a module such as "model.py:Net", a net in the notation, or a
            recipe.
        overrides: With `weights`: fields of the recipe as `key=value`, such as "data.mean=[0.5,0.5,0.5]".
        weights: A file of safetensors or of `torch.save`; "net.pth#ema" chooses in a checkpoint.
        data: With `weights`: the data set, a name or a folder, by default that of the recipe; or data in
            memory, as for `train`. For a run that was trained on data in memory: the same data again.
        runs: With `weights`: the parent of the new run folder.
        robustness: Also evaluate corrupted test images: six corruptions at five strengths.
        duplicates: Also list near-duplicates of test images in the training set.
        label_errors: Also list test labels that are probably wrong. This requires cleanlab.
        refresh: Decode the images again, even if the cache has them.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        RunError: The run is missing or damaged, or its data set has changed.
        ModuleError: The weights do not fit the net, or the net is not a classifier of the images.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        MissingExtraError: `label_errors` is set, but cleanlab is not installed.
    """
    requested = dict(zip(ANALYSES, (robustness, duplicates, label_errors), strict=True))
    access = CodeAccess(trust=trust_code, module=module)
    if weights is not None:
        with (
            named_source(data, overrides) as source,
            external_run(
                ModelArguments.of(run, weights, source, overrides, access), Path(runs), refresh=refresh
            ) as (folder, session),
        ):
            evaluation = evaluate_run(folder, session)
            log_evaluation(folder, evaluation)
            return _complete(folder, session, evaluation, requested)
    ModelArguments.of(run, None, data if isinstance(data, str | Path) else None, overrides, access)
    run = Path(run)
    with RunFolder.lock(run), run_data(run, data):
        folder, session = open_run(run, access=access, refresh=refresh)
        # The others are written anew.
        folder.verify(*(name for name, wanted in requested.items() if not wanted))
        with session.threads():
            return _complete(folder, session, evaluate_run(folder, session), requested)


def _complete(
    folder: RunFolder, session: Session, evaluation: Evaluation, requested: Mapping[str, bool]
) -> Result:
    """Run the requested analyses, and write the report."""
    evaluation = with_prediction_check(folder, session, evaluation)
    robustness, duplicates, label_errors = (requested[name] for name in ANALYSES)
    data = session.data
    analyses: dict[str, Any] = {}
    if label_errors:
        analyses["label_errors"] = find_label_errors(
            evaluation.predictions, data.class_names, data.evaluation_set.kind
        )
    if duplicates:
        analyses["duplicates"] = find_duplicates(data.train, data.test)
    if robustness:
        net, normalize, dtype = load_net(folder, session)
        analyses["robustness"] = evaluate_robustness(net, data.test, normalize, dtype)
    for record in analyses.values():
        folder.write(record)
    return replace(write_report(folder, session, evaluation), **analyses)
