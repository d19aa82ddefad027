"""What is looked into on request: spoiled images, near-duplicates, likely label errors; a record of each."""

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from convsmith.api.evaluation import loaded_net
from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.evaluation.duplicates import LARGEST_DIFFERENCE, near_duplicates
from convsmith.evaluation.label_errors import likely_label_errors
from convsmith.evaluation.metrics import wilson
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.robustness import CORRUPTIONS, STRENGTHS, corrupted
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.training.metrics import SplitMetrics, evaluate_split

# Pairs and images that a record lists one by one.
MOST_LISTED = 50
# Images that are spoiled at once.
_AT_ONCE = 1000


def analyse(
    folder: RunFolder,
    prepared: Session,
    found: Predictions,
    *,
    robustness: bool = False,
    duplicates: bool = False,
    label_errors: bool = False,
) -> None:
    """Look into what is asked for, and write a record of each into the run's folder.

    Args:
        folder: Of the run.
        prepared: Its recipe with its data.
        found: Predictions for the test images.
        robustness: robustness.json is wanted.
        duplicates: duplicates.json is wanted.
        label_errors: label_errors.json is wanted.

    Raises:
        MissingExtraError: cleanlab is not installed, and label errors are asked for.
    """
    if label_errors:
        folder.write_json("label_errors.json", label_errors_record(prepared, found))
    if duplicates:
        folder.write_json("duplicates.json", duplicates_record(prepared))
    if robustness:
        net, normalize, dtype = loaded_net(folder, prepared)
        folder.write_json("robustness.json", robustness_record(net, prepared.data.test, normalize, dtype))


def robustness_record(
    net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype
) -> dict[str, Any]:
    """Accuracy on plain images, on those spoiled in each way at each strength, and the mean of the latter."""
    spoiled = {
        name: [_score(net, _spoiled(split, name, strength), normalize, dtype) for strength in STRENGTHS]
        for name in CORRUPTIONS
    }
    accuracies = [level["accuracy"] for levels in spoiled.values() for level in levels]
    return {
        "images": len(split),
        "clean": _score(net, split, normalize, dtype),
        "corruptions": spoiled,
        "mean_accuracy": sum(accuracies) / len(accuracies),
    }


def duplicates_record(prepared: Session) -> dict[str, Any]:
    """Test images that the training set nearly has."""
    train, test = prepared.data.train, prepared.data.test
    pairs = near_duplicates(train.images, train.labels, test.images, test.labels)
    return {
        "largest_difference": LARGEST_DIFFERENCE,
        "count": len(pairs),
        "other_label": sum(not pair.same_label for pair in pairs),
        "pairs": [
            {
                "test": pair.test,
                "train": pair.train,
                "difference": pair.difference,
                "same_label": pair.same_label,
            }
            for pair in pairs[:MOST_LISTED]
        ],
    }


def label_errors_record(prepared: Session, found: Predictions) -> dict[str, Any]:
    """Test labels that are probably wrong, the likeliest first."""
    indices = likely_label_errors(found)
    names, predicted, confidence = prepared.data.class_names, found.predicted, found.confidence
    return {
        "method": "confident learning on the test predictions",
        "version": version("cleanlab"),
        "count": len(indices),
        "images": [
            {
                "index": int(index),
                "label": names[found.labels[index]],
                "predicted": names[predicted[index]],
                "confidence": float(confidence[index]),
            }
            for index in indices[:MOST_LISTED]
        ],
    }


def _spoiled(split: Split, name: str, strength: int) -> Split:
    parts = [
        corrupted(name, np.asarray(split.images[start : start + _AT_ONCE]), strength, seed=start)
        for start in range(0, len(split), _AT_ONCE)
    ]
    return Split(images=np.concatenate(parts), labels=split.labels)


def _score(net: nn.Module, split: Split, normalize: Normalizer, dtype: torch.dtype) -> dict[str, Any]:
    found: SplitMetrics = evaluate_split(net, split, normalize, dtype)
    interval = wilson(found.correct, found.total)
    return {"accuracy": found.accuracy, "accuracy_95": [interval.low, interval.high], "loss": found.loss}
