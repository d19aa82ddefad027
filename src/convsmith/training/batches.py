"""From uint8 images to the normalised batches that a net sees."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convsmith.data.images import Split, TrainingData
from convsmith.data.rows import FileImages, Images


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """`(pixels / 255 - mean) / std`, per channel, on the device."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, data: TrainingData, device: torch.device) -> "Normalizer":
        mean, std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std)
        )
        return cls(mean=mean, std=std)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def __call__(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Bring images `(N, C, H, W)` from uint8 to float32; the order in memory stays channels last."""
        # In lines of pixels with their channels side by side, as they lie in memory: numbers that differ
        # from channel to channel alone would be multiplied one by one.
        lines = images_NCHW.permute(0, 2, 3, 1).flatten(2)
        channels, height, width = images_NCHW.shape[1:]
        factor, offset = (
            values.flatten().repeat(width) for values in (1 / (255 * self.std), self.mean / self.std)
        )
        scaled = (lines * factor).sub_(offset)
        return scaled.view(-1, height, width, channels).permute(0, 3, 1, 2)


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
            batch_NHWC = torch.from_numpy(self.images_NHWC[indices.numpy()]).to(self.device)  # noqa: N806
        else:
            batch_NHWC = self.images_NHWC.index_select(0, places)  # noqa: N806
        return batch_NHWC.permute(0, 3, 1, 2), self.labels.index_select(0, places)


def normalized(images_NHWC: Images, normalize: Normalizer, batch_size: int) -> Iterator[Tensor]:  # noqa: N803
    """All images in their order, as normalised batches; channels last in memory, which convolves faster."""
    for start in range(0, len(images_NHWC), batch_size):
        batch = torch.from_numpy(images_NHWC[start : start + batch_size])
        yield normalize(batch.to(normalize.device).permute(0, 3, 1, 2))


def shuffled(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one epoch, in random order; the last batch may be smaller."""
    order = torch.randperm(num_images, generator=generator)
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def num_batches(split: Split, batch_size: int) -> int:
    return -(-len(split) // batch_size)
