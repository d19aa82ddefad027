"""Further analyses of an evaluated run: robustness, near-duplicates, label errors; a record of each."""

from convsmith.evaluation.duplicates import find_duplicates
from convsmith.evaluation.label_errors import find_label_errors
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.robustness import evaluate_robustness
from convsmith.recipes.session import Session
from convsmith.runs.evaluation import load_net
from convsmith.runs.folder import RunFolder


def analyse(
    folder: RunFolder,
    session: Session,
    predictions: Predictions,
    *,
    robustness: bool = False,
    duplicates: bool = False,
    label_errors: bool = False,
) -> None:
    """Run further analyses and write the record of each into the run's folder.

    Args:
        folder: Of the run.
        session: The run's recipe with its data.
        predictions: For the test images.
        robustness: Write robustness.json.
        duplicates: Write duplicates.json.
        label_errors: Write label_errors.json.

    Raises:
        MissingExtraError: cleanlab is not installed, and `label_errors` is set.
    """
    data = session.data
    if label_errors:
        folder.write(find_label_errors(predictions, data.class_names))
    if duplicates:
        folder.write(find_duplicates(data.train, data.test))
    if robustness:
        net, normalize, dtype = load_net(folder, session)
        folder.write(evaluate_robustness(net, data.test, normalize, dtype))
