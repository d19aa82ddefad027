"""Loss and accuracy of a split."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from convsmith.data.dataset import Split
from convsmith.data.normalize import Normalizer
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.training.metrics import (
    compute_logits,
    evaluate_split,
    split_metrics,
)


def test_metrics_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 5)) * 3, rng.integers(0, 5, 200)
    score = split_metrics(torch.tensor(logits), torch.tensor(labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert score.loss == pytest.approx(log_loss(labels, probabilities, labels=range(5)))
    assert score.correct == (logits.argmax(1) == labels).sum()
    assert score.accuracy == score.correct / 200


def split_of(count: int, size: int = 8) -> Split:
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return Split(images=images, labels=rng.integers(0, 10, count))


def test_loss_does_not_depend_on_the_batch_size(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session.load(tiny)
    net, split = session.build_net(), split_of(103)
    normalize = Normalizer.of(session.data, torch.device("cpu"))
    whole = evaluate_split(net, split, normalize, torch.float32)
    monkeypatch.setattr("convsmith.training.metrics.EVALUATION_BATCH", 10)
    parts = evaluate_split(net, split, normalize, torch.float32)
    assert parts.loss == pytest.approx(whole.loss)
    assert parts.correct == whole.correct
    # Blocks of 30 images, and one that has the rest.
    monkeypatch.setattr("convsmith.training.metrics._BLOCK_VALUES", 300)
    blocks = evaluate_split(net, split, normalize, torch.float32)
    assert blocks.loss == pytest.approx(whole.loss)
    assert (blocks.correct, blocks.total) == (whole.correct, 103)
    assert net.training
    net.eval()
    compute_logits(net, split, normalize, torch.float32)
    assert not net.training
