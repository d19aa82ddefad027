"""Labels that are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

The method is that of cleanlab, an optional extra. It needs predictions for images that the net
was not trained on, such as those of the test set.
"""

from importlib.metadata import version

import numpy as np

from convsmith.errors import MissingExtraError
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import LabelError, LabelErrors

MOST_LISTED = 50


def find_label_errors(predictions: Predictions, class_names: tuple[str, ...]) -> LabelErrors:
    """Find test labels that are probably wrong, and list the 50 most probable ones.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    indices = label_error_indices(predictions)
    predicted, confidence = predictions.predicted, predictions.confidence
    return LabelErrors(
        method="confident learning on the test predictions",
        version=version("cleanlab"),
        count=len(indices),
        images=tuple(
            LabelError(
                index=int(index),
                label=class_names[predictions.labels[index]],
                predicted=class_names[predicted[index]],
                confidence=float(confidence[index]),
            )
            for index in indices[:MOST_LISTED]
        ),
    )


def label_error_indices(predictions: Predictions) -> Indices:
    """Return the indices of images whose label is probably wrong, the most probable first.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "finding label errors needs cleanlab, which is not installed",
            where="--label-errors",
            fix="pip install 'convsmith[labels]'",
        ) from error
    if len(np.unique(predictions.labels)) < 2:
        return np.zeros(0, dtype=np.int64)
    indices: Indices = find_label_issues(
        predictions.labels,
        predictions.probabilities,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return indices.astype(np.int64)
