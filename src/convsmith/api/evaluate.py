"""Evaluate a run."""

from pathlib import Path

from convsmith.evaluation.duplicates import find_duplicates
from convsmith.evaluation.label_errors import find_label_errors
from convsmith.evaluation.robustness import evaluate_robustness
from convsmith.recipes.session import open_run
from convsmith.reports.report import Result, write_report
from convsmith.runs.evaluation import evaluate_run, load_net
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
            data = session.data
            if label_errors:
                folder.write(find_label_errors(evaluation.predictions, data.class_names))
            if duplicates:
                folder.write(find_duplicates(data.train, data.test))
            if robustness:
                net, normalize, dtype = load_net(folder, session)
                folder.write(evaluate_robustness(net, data.test, normalize, dtype))
            return write_report(folder, session, evaluation)
