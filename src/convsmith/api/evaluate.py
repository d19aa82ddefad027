"""Evaluate a run."""

from pathlib import Path

from convsmith.api.analyses import analyse
from convsmith.recipes.session import open_run
from convsmith.reports.report import Result, write_report
from convsmith.runs.evaluation import evaluate_run
from convsmith.runs.folder import RunFolder


def evaluate(
    run: Path, *, robustness: bool = False, duplicates: bool = False, label_errors: bool = False
) -> Result:
    """Score a run's weights on its training and test images, and write pictures and report anew.

    Args:
        run: Its folder.
        robustness: Also score spoiled test images: six corruptions at five strengths.
        duplicates: Also look for test images that the training set nearly has.
        label_errors: Also look for test labels that are probably wrong; needs cleanlab.

    Raises:
        RunError: No such run, a damaged one, or its data set has changed.
        MissingExtraError: cleanlab is not installed, and label errors are asked for.
    """
    with RunFolder.held(run):
        folder, session = open_run(run)
        with session.threads():
            evaluation = evaluate_run(folder, session)
            analyse(
                folder,
                session,
                evaluation.predictions,
                robustness=robustness,
                duplicates=duplicates,
                label_errors=label_errors,
            )
            return write_report(folder, session, evaluation)
