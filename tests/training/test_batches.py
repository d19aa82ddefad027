"""The order of the images in an epoch."""

import numpy as np

from convsmith.data.dataset import Split
from convsmith.system.rng import new_generator
from convsmith.training.batches import num_batches, shuffled_batches


def test_an_epoch_sees_every_image_once() -> None:
    split = Split(images=np.zeros((103, 1, 1, 1), np.uint8), labels=np.zeros(103, np.int64))
    batches = list(shuffled_batches(103, 10, new_generator(0)))
    assert [len(batch) for batch in batches] == [10] * 10 + [3]
    assert sorted(np.concatenate(batches)) == list(range(103))
    assert len(batches) == num_batches(split, 10)
    assert not np.array_equal(np.concatenate(batches), np.arange(103))
