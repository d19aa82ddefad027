"""Two engines that apply a recipe's transforms, with the same meaning.

The batched engine transforms a batch at once on the training device. The albumentations engine transforms
image by image with the library that defines the transforms.
"""

import os
import threading
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.selection import change_selected
from convsmith.data.augment.transform import Transform


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Everything that the random changes of a batch depend on.

    Attributes:
        seed: The seed of all draws.
        epoch: Counts from 1; alternate flips depend on it.
        indices: `(N,)` int64 on the CPU, positions in the training set.
    """

    seed: int
    epoch: int
    indices: Tensor


class Augmenter(Protocol):
    """Transform a batch `(N, C, H, W)` uint8 at random, into a new tensor of the same shape and device."""

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor: ...  # noqa: N803 - shape suffix


def augmenter(config: AugmentConfig, mean: tuple[float, ...]) -> Augmenter:
    """Return the augmenter of a recipe.

    Args:
        config: The `[augment]` table.
        mean: The data set's mean per channel, 0 to 1, which fills holes and corners.

    Example:
        >>> config = AugmentConfig.model_validate({"transforms": [{"name": "HorizontalFlip", "p": 1.0}]})
        >>> flip = augmenter(config, mean=(0.5,))
        >>> image = torch.tensor([[[[1, 2]]]], dtype=torch.uint8)
        >>> flip(image, Draw(seed=0, epoch=1, indices=torch.tensor([0]))).flatten().tolist()
        [2, 1]
    """
    engine = AlbumentationsEngine if config.engine == "albumentations" else BatchedEngine
    return engine(config.transforms, tuple(255 * value for value in mean))


class BatchedEngine:
    """Apply transforms batch by batch. Random numbers are drawn on the CPU, so all devices get the same.

    Args:
        transforms: In the order in which they are applied.
        mean: The mean colour, levels from 0 to 255.
    """

    def __init__(self, transforms: tuple[Transform, ...], mean: tuple[float, ...]) -> None:
        self.transforms, self.mean = transforms, mean

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor:  # noqa: N803 - shape suffix
        generator = torch.Generator().manual_seed(draw.seed)
        # Channels last, so that each image is copied and selected in one piece.
        images = images_NCHW.clone(memory_format=torch.channels_last)
        for transform in self.transforms:
            selected = transform.select(draw.indices, draw.epoch, generator)
            size = (images.shape[2], images.shape[3])
            parameters = transform.draw(len(images), size, generator)
            change_selected(images, selected, parameters, partial(transform.apply, mean=self.mean))
        return images


class AlbumentationsEngine:
    """Apply transforms image by image with albumentations.

    Args:
        transforms: In the order in which they are applied.
        mean: The mean colour, levels from 0 to 255.
    """

    def __init__(self, transforms: tuple[Transform, ...], mean: tuple[float, ...]) -> None:
        # Before the import, which otherwise looks for a newer version over the network.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations

        self.pipeline = albumentations.Compose([each.to_albumentations(mean) for each in transforms])
        # The pipeline stores what it draws, so only one thread may use it at a time.
        self.lock = threading.Lock()

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor:  # noqa: N803 - shape suffix
        if not self.pipeline.transforms:
            return images_NCHW
        images_NHWC = images_NCHW.permute(0, 2, 3, 1).cpu().numpy()  # noqa: N806
        with self.lock:
            self.pipeline.set_random_seed(draw.seed)
            transformed = np.stack([self.pipeline(image=image)["image"] for image in images_NHWC])
        return torch.from_numpy(transformed).to(images_NCHW.device).permute(0, 3, 1, 2)
