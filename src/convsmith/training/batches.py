"""From uint8 images to the normalised batches that a net sees."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.data.images import ImageData, Split


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """`(pixels / 255 - mean) / std`, per channel, on the device."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, data: ImageData, device: torch.device) -> "Normalizer":
        mean, std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std)
        )
        return cls(mean=mean, std=std)

    def __call__(self, images_NHWC: NDArray[np.uint8]) -> Tensor:  # noqa: N803 - shape suffix
        """Bring images `(N, H, W, C)` uint8 to `(N, C, H, W)` float32.

        The order in memory stays as it was: PyTorch calls it channels last, and convolves it faster.
        """
        pixels = torch.from_numpy(images_NHWC).to(self.mean.device).permute(0, 3, 1, 2)
        return (pixels.float() / 255 - self.mean) / self.std


def normalized(images_NHWC: NDArray[np.uint8], normalize: Normalizer, batch_size: int) -> Iterator[Tensor]:  # noqa: N803
    """All images in their order, as normalised batches."""
    for start in range(0, len(images_NHWC), batch_size):
        yield normalize(images_NHWC[start : start + batch_size])


def shuffled(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """The indices of one epoch, in random order; the last batch may be smaller."""
    order = torch.randperm(num_images, generator=generator).numpy()
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def num_batches(split: Split, batch_size: int) -> int:
    return -(-len(split) // batch_size)
