"""The images of a split where the net is, and the order in which an epoch takes them."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from convsmith.data.dataset import Split
from convsmith.data.memory_mapped import FileImages

Item = TypeVar("Item")


class DeviceImages:
    """A split's images and labels where the net is; images that stay on disk are brought batch by batch."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        self.images_NHWC = (
            split.images
            if isinstance(split.images, FileImages)
            else torch.from_numpy(split.images).to(device)
        )
        self.labels = torch.from_numpy(split.labels).to(device)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(N, C, H, W)` uint8, channels last in memory, and labels `(N,)`, for indices on the CPU."""
        places = indices.to(self.device, non_blocking=True)
        if isinstance(self.images_NHWC, FileImages):
            read = torch.from_numpy(self.images_NHWC[indices.numpy()])
            batch_NHWC = read.to(self.device, non_blocking=True)  # noqa: N806
        else:
            batch_NHWC = self.images_NHWC.index_select(0, places)  # noqa: N806
        return batch_NHWC.permute(0, 3, 1, 2), self.labels.index_select(0, places)


def shuffled(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one epoch, in random order; the last batch may be smaller."""
    order = torch.randperm(num_images, generator=generator)
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def num_batches(split: Split, batch_size: int) -> int:
    return -(-len(split) // batch_size)


def followed(items: Iterable[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Each with the one that comes after it, None after the last.

    Example:
        >>> list(followed("abc"))
        [('a', 'b'), ('b', 'c'), ('c', None)]
    """
    ahead = iter(items)
    item = next(ahead, None)
    while item is not None:
        following = next(ahead, None)
        yield item, following
        item = following
