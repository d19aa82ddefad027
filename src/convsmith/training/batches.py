"""The order in which an epoch takes the images of a split."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from convsmith.data.dataset import Split

Item = TypeVar("Item")


def shuffled_batches(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one epoch, in random order; the last batch may be smaller."""
    order = torch.randperm(num_images, generator=generator)
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def num_batches(split: Split, batch_size: int) -> int:
    return -(-len(split) // batch_size)


def with_next(items: Iterable[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Each with the one that comes after it, None after the last.

    Example:
        >>> list(with_next("abc"))
        [('a', 'b'), ('b', 'c'), ('c', None)]
    """
    ahead = iter(items)
    item = next(ahead, None)
    while item is not None:
        following = next(ahead, None)
        yield item, following
        item = following
