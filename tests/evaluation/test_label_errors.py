"""Label errors by cleanlab."""

import numpy as np
import pytest

from convsmith.errors import MissingExtraError
from convsmith.evaluation.label_errors import label_error_indices
from convsmith.evaluation.predictions import Predictions
from helpers.evaluation import random_predictions


def test_label_errors_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match="cleanlab"):
        label_error_indices(random_predictions())


def test_planted_label_errors() -> None:
    pytest.importorskip("cleanlab")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 400)
    logits = generator.standard_normal((400, 4)).astype(np.float32)
    logits[np.arange(400), truth] += 6
    labels = truth.copy()
    planted = np.arange(0, 400, 40)
    labels[planted] = (truth[planted] + 1) % 4
    indices = label_error_indices(Predictions(logits=logits, labels=labels))
    assert set(planted) <= set(indices)
    assert len(indices) <= len(planted) + 8
