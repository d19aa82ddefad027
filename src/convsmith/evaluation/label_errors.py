"""Labels that are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

The method is that of cleanlab, an optional extra. It needs predictions for images that the net
was not trained on, such as those of the test set.
"""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from convsmith.errors import MissingExtraError
from convsmith.evaluation.out_of_fold import LocatedLabelError, OutOfFoldLabelErrors
from convsmith.evaluation.predictions import Indices, Predictions
from convsmith.evaluation.schema import LabelError, LabelErrors

MOST_LISTED = 50


def find_label_errors(
    predictions: Predictions, class_names: tuple[str, ...], kind: str = "test"
) -> LabelErrors:
    """Find labels that are probably wrong, and list the 50 most probable ones.

    Args:
        predictions: For images that the net was not trained on.
        class_names: In the order of the labels.
        kind: Of the images: "test", or "held-out".

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    indices = label_error_indices(predictions)
    predicted, confidence = predictions.predicted, predictions.confidence
    return LabelErrors(
        method=f"confident learning on the {kind} predictions",
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


def locate_label_errors(
    predictions: Predictions, class_names: tuple[str, ...], locations: Sequence[str], folds: Indices
) -> OutOfFoldLabelErrors:
    """Find training labels that are probably wrong by out-of-fold predictions, and list all of them.

    Args:
        predictions: Of each training image, by a net that was not trained on it.
        class_names: In the order of the labels.
        locations: Of each image in the source.
        folds: Of each image, from 0, `(N,)`.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    indices = label_error_indices(predictions)
    predicted, confidence = predictions.predicted, predictions.confidence
    probabilities = predictions.probabilities
    return OutOfFoldLabelErrors(
        method="confident learning on the out-of-fold predictions",
        version=version("cleanlab"),
        class_names=class_names,
        images=tuple(
            LocatedLabelError(
                index=index,
                location=locations[index],
                fold=int(folds[index]) + 1,
                label=class_names[predictions.labels[index]],
                predicted=class_names[predicted[index]],
                confidence=float(confidence[index]),
                probabilities=tuple(map(float, probabilities[index])),
            )
            for index in indices.tolist()
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
