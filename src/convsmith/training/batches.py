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

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def __call__(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Bring images `(N, C, H, W)` from uint8 to float32; the order in memory stays as it was."""
        return (images_NCHW * (1 / (255 * self.std))).sub_(self.mean / self.std)


class DeviceImages:
    """A split's images and labels where the net is.

    Images that are mapped from disk because they are larger than memory stay there, and are brought batch
    by batch.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        self.mapped = split.images if isinstance(split.images, np.memmap) else None
        self.images_NHWC = None if self.mapped is not None else torch.from_numpy(split.images).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(N, C, H, W)` uint8, channels last in memory, and labels `(N,)`, for indices on the CPU."""
        places = indices.to(self.device, non_blocking=True)
        if self.images_NHWC is None:
            images_NHWC = torch.from_numpy(self.mapped[indices.numpy()]).to(self.device, non_blocking=True)  # noqa: N806
        else:
            images_NHWC = self.images_NHWC.index_select(0, places)  # noqa: N806
        return images_NHWC.permute(0, 3, 1, 2), self.labels.index_select(0, places)


def normalized(images_NHWC: NDArray[np.uint8], normalize: Normalizer, batch_size: int) -> Iterator[Tensor]:  # noqa: N803
    """All images in their order, as normalised batches; channels last in memory, which convolves faster."""
    for start in range(0, len(images_NHWC), batch_size):
        # A copy, since a file that is mapped into memory cannot be written to.
        batch = torch.from_numpy(np.array(images_NHWC[start : start + batch_size]))
        yield normalize(batch.to(normalize.device).permute(0, 3, 1, 2))


def shuffled(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one epoch, in random order; the last batch may be smaller."""
    yield from torch.randperm(num_images, generator=generator).split(batch_size)


def num_batches(split: Split, batch_size: int) -> int:
    return -(-len(split) // batch_size)
