"""Evaluate a run, or weights that were trained elsewhere."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.cluster.engine import Engine, chosen_engine
from convsmith.errors import UsageError
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
from convsmith.runs.shared_inference import remove_parts, shared_inference

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
    on: str | None = None,
    workers: int | None = None,
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
        on: Share the forward passes out: "loky" for processes of this machine, "dask://HOST:PORT" or
            "ray://HOST:PORT" for a cluster, whose workers see run and data under the same paths. The result
            is the same. After an interruption the same call goes on where it was. By default this process
            computes them, as it does the analyses that are requested.
        workers: With `on`: how many parts of the images are evaluated at once.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        RunError: The run is missing or damaged, or its data set has changed.
        ModuleError: The weights do not fit the net, or the net is not a classifier of the images.
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        UsageError: `on` names no engine, or the data or the module are in the memory of this process.
        ProcessError: The engine does not answer, or a worker has another version, run or data.
        StoppedError: With `on`: Ctrl-C or SIGTERM.
        MissingExtraError: `label_errors` is set, but cleanlab is not installed; or the engine is not.
    """
    engine = chosen_engine(on, workers)
    if engine and (module is not None or not isinstance(data, str | Path | None)):
        raise UsageError(
            "workers do not see data or a module in the memory of this process",
            where="on",
            fix="name files that all workers have, or leave out `on`",
        )
    requested = dict(zip(ANALYSES, (robustness, duplicates, label_errors), strict=True))
    access = CodeAccess(trust=trust_code, module=module)
    if weights is not None:
        with (
            named_source(data, overrides) as source,
            external_run(
                ModelArguments.of(run, weights, source, overrides, access), Path(runs), refresh=refresh
            ) as (folder, session),
        ):
            # The user has named the code of the net.
            evaluation = _evaluate(folder, session, engine, workers, CodeAccess(trust=True))
            log_evaluation(folder, evaluation)
            return _complete(folder, session, evaluation, requested)
    ModelArguments.of(run, None, data if isinstance(data, str | Path) else None, overrides, access)
    run = Path(run)
    with RunFolder.lock(run), run_data(run, data):
        folder, session = open_run(run, access=access, refresh=refresh)
        # The others are written anew.
        folder.verify(*(name for name, wanted in requested.items() if not wanted))
        with session.threads():
            evaluation = _evaluate(folder, session, engine, workers, access)
            return _complete(folder, session, evaluation, requested)


def _evaluate(
    folder: RunFolder, session: Session, engine: Engine | None, workers: int | None, access: CodeAccess
) -> Evaluation:
    if engine is None:
        evaluation = evaluate_run(folder, session)
        # What an interrupted evaluation on workers has left is of no more use.
        remove_parts(folder)
        return evaluation
    with shared_inference(folder, session, engine, workers, trust_code=access.trust) as inference:
        return evaluate_run(folder, session, inference)


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
