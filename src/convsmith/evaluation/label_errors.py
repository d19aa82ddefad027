"""Labels that are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

The work is cleanlab's, an optional extra. It is given test predictions: the net has not learned from those
images, as confident learning needs.
"""

import numpy as np

from convsmith.errors import MissingExtraError
from convsmith.evaluation.predictions import Indices, Predictions


def likely_label_errors(predictions: Predictions) -> Indices:
    """Indices of images whose label is probably wrong, the likeliest first.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "likely label errors need cleanlab, which is not installed",
            where="--label-errors",
            fix="pip install 'convsmith[labels]'",
        ) from error
    if len(np.unique(predictions.labels)) < 2:
        return np.zeros(0, dtype=np.int64)
    found: Indices = find_label_issues(
        predictions.labels,
        predictions.probabilities,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return found.astype(np.int64)
