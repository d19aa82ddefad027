"""Which images an epoch has, and in which order."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.training.batches import batches_of


class Sampler:
    """Draws the images of an epoch, as many as there are training images.

    Args:
        labels: Of the training images, `(N,)` int64.
        sampling: "shuffle": each image once. "balanced": with replacement, a random class of those that have
            images, then a random image of it. This is the distribution of PyTorch's `WeightedRandomSampler`
            with weights inverse to the frequency of the class.

    Example:
        >>> sampler = Sampler(np.array([0, 0, 0, 0, 0, 0, 0, 1]), "balanced")
        >>> order = sampler.order(torch.Generator().manual_seed(0))
        >>> len(order), 2 <= (order == 7).sum() <= 6
        (8, tensor(True))
    """

    def __init__(self, labels: NDArray[np.int64], sampling: Literal["shuffle", "balanced"]) -> None:
        self.num_images = len(labels)
        self.is_balanced = sampling == "balanced"
        if self.is_balanced:
            counts = torch.from_numpy(np.bincount(labels))
            self._counts = counts[counts > 0]
            # The images of a class are neighbours, in the order of the classes.
            self._images = torch.from_numpy(np.argsort(labels, kind="stable"))
            self._starts = self._counts.cumsum(0) - self._counts

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the positions of the images of an epoch, `(N,)` int64."""
        if not self.is_balanced:
            return torch.randperm(self.num_images, generator=generator)
        classes = torch.randint(len(self._counts), (self.num_images,), generator=generator)
        share = torch.rand(self.num_images, generator=generator, dtype=torch.float64)
        # A share just below 1 times a large count could be rounded up to the count.
        within = torch.minimum((share * self._counts[classes]).long(), self._counts[classes] - 1)
        return self._images[self._starts[classes] + within]

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the positions of each batch of an epoch; the last may be smaller, or larger by one image."""
        return batches_of(self.order(generator), batch_size)
