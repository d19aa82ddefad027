"""Normalisation of uint8 images, the same in training and inference."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from convsmith.data.images.memory_mapped import Images


class ChannelStatistics(Protocol):
    """Mean and standard deviation per channel, pixels scaled to 0..1."""

    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Compute `(pixels / 255 - mean) / std` per channel, on a device."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, data: ChannelStatistics, device: torch.device) -> "Normalizer":
        """Return the normalizer of a data set or a bundle."""
        mean, std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std)
        )
        return cls(mean=mean, std=std)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def __call__(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Return images `(N, C, H, W)` uint8 as normalised float32, channels last in memory."""
        # Operate on rows of pixels with interleaved channels, as they are in memory: broadcasting over a
        # channel dimension of 1 or 3 is not vectorised.
        lines = images_NCHW.permute(0, 2, 3, 1).flatten(2)
        channels, height, width = images_NCHW.shape[1:]
        factor, offset = (
            values.flatten().repeat(width) for values in (1 / (255 * self.std), self.mean / self.std)
        )
        scaled = (lines * factor).sub_(offset)
        return scaled.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def inverse(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Return normalised images `(N, C, H, W)` as uint8 pixels, rounded."""
        return ((images_NCHW * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)


def normalized_batches(images_NHWC: Images, normalize: Normalizer, batch_size: int) -> Iterator[Tensor]:  # noqa: N803
    """Yield all images in order, as normalised batches `(N, C, H, W)`, channels last in memory."""
    for start in range(0, len(images_NHWC), batch_size):
        batch = torch.from_numpy(images_NHWC[start : start + batch_size])
        yield normalize(batch.to(normalize.device).permute(0, 3, 1, 2))
