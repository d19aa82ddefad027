"""Planted near-duplicates."""

import numpy as np

from convsmith.data.dataset import Split
from convsmith.evaluation.duplicates import duplicate_pairs


def test_near_duplicates() -> None:
    generator = np.random.default_rng(0)
    train = generator.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    test = generator.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    test[2] = train[40]
    test[5] = (train[7].astype(int) + generator.integers(-5, 6, train[7].shape)).clip(0, 255)
    labels, test_labels = np.arange(60) % 3, np.arange(10) % 3
    result = duplicate_pairs(Split(images=train, labels=labels), Split(images=test, labels=test_labels))
    assert [(each.test, each.train) for each in result] == [(2, 40), (5, 7)]
    assert result[0].difference < 0.1
    assert [each.same_label for each in result] == [40 % 3 == 2, 7 % 3 == 5 % 3]
