"""The order of the images in an epoch."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from convsmith.data.dataset import Split

Item = TypeVar("Item")


def shuffled_batches(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of one epoch in random order; the last batch may be smaller."""
    order = torch.randperm(num_images, generator=generator)
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def num_batches(split: Split, batch_size: int) -> int:
    """Return the number of batches of an epoch."""
    return -(-len(split) // batch_size)


def with_next(items: Iterable[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Yield each item with the next item, None after the last.

    Example:
        >>> list(with_next("abc"))
        [('a', 'b'), ('b', 'c'), ('c', None)]
    """
    iterator = iter(items)
    item = next(iterator, None)
    while item is not None:
        next_item = next(iterator, None)
        yield item, next_item
        item = next_item
