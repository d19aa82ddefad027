"""The order of the images in an epoch, and its batches."""

import numpy as np
import pytest
import torch

from convsmith.data.pipeline import BatchSpec
from convsmith.system.rng import new_generator
from convsmith.training.batches import batch_sizes, batches_of, num_batches


def test_an_epoch_sees_every_image_once() -> None:
    batches = list(batches_of(torch.randperm(103, generator=new_generator(0)), 10))
    assert [len(batch) for batch in batches] == [10] * 10 + [3]
    assert sorted(np.concatenate(batches)) == list(range(103))
    assert not np.array_equal(np.concatenate(batches), np.arange(103))


@pytest.mark.parametrize("num_images", [1, 2, 3, 5, 7, 16, 17, 64, 65, 1198, 1201])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 16, 64, 600, 1197, 5000])
def test_no_batch_has_one_image_if_another_exists(num_images: int, batch_size: int) -> None:
    order = torch.randperm(num_images, generator=new_generator(0))
    batches = [batch.tolist() for batch in batches_of(order, batch_size)]
    sizes = [len(batch) for batch in batches]
    assert sorted(index for batch in batches for index in batch) == list(range(num_images))
    assert len(sizes) == num_batches(num_images, batch_size)
    assert set(sizes) == batch_sizes(num_images, batch_size)
    assert 1 not in sizes or 1 in {num_images, batch_size}
    # All other batches are as torch's `split` makes them.
    usual = torch.split(torch.randperm(num_images, generator=new_generator(0)), batch_size)
    if len(usual[-1]) > 1 or batch_size == 1:
        assert batches == [batch.tolist() for batch in usual]


@pytest.mark.parametrize("num_images", range(1, 40))
def test_no_part_of_a_batch_has_one_image_if_another_exists(num_images: int) -> None:
    batch = BatchSpec(indices=torch.randperm(num_images), epoch=1, step=0)
    for num_parts in range(1, 12):
        parts = batch.split(num_parts)
        assert torch.equal(torch.cat([part.indices for part in parts]), batch.indices)
        assert [part.part for part in parts] == [*range(len(parts))]
        sizes, usual = [len(part) for part in parts], [len(part) for part in batch.indices.chunk(num_parts)]
        assert len(parts) <= num_parts
        assert 1 not in sizes or num_images == 1
        assert 1 in usual or sizes == usual
