"""The order of the images in an epoch, and its batches.

A last batch of a single image joins the batch before: batch norm cannot normalise one value, and the
statistics of one image say little about the others (pytorch#7716).
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch import Tensor

Item = TypeVar("Item")


def batches_of(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield the images of an epoch in batches; the last may be smaller, or larger by one.

    Args:
        order: The positions of the images, `(N,)`.
        batch_size: Of all batches but the last.

    Example:
        >>> [batch.tolist() for batch in batches_of(Tensor([4, 0, 3, 1, 2]).long(), 2)]
        [[4, 0], [3, 1, 2]]
    """
    last = num_batches(len(order), batch_size) - 1
    for step in range(last):
        yield order[step * batch_size : (step + 1) * batch_size]
    yield order[last * batch_size :]


def num_batches(num_images: int, batch_size: int) -> int:
    """Return the number of batches of an epoch.

    Example:
        >>> num_batches(12, 5), num_batches(11, 5), num_batches(11, 1)
        (3, 2, 11)
    """
    full, rest = divmod(num_images, batch_size)
    joins = rest == 1 and full > 0
    return full + (rest > 0 and not joins)


def batch_sizes(num_images: int, batch_size: int) -> set[int]:
    """Return the sizes of the batches of an epoch.

    Example:
        >>> batch_sizes(12, 5) == {5, 2}, batch_sizes(11, 5) == {5, 6}, batch_sizes(3, 5) == {3}
        (True, True, True)
    """
    last = num_batches(num_images, batch_size) - 1
    return {num_images - last * batch_size, *((batch_size,) if last else ())}


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
