"""Applying a recipe's transforms to a batch, by one of two engines that give them the same meaning.

"batched" changes a whole batch at once on the device that trains; "albumentations" changes image by image
through the library whose names the transforms bear.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from convsmith.data.augment.transforms import AugmentConfig


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What the changes of one batch depend on, and nothing else.

    Attributes:
        seed: Of all that is drawn.
        epoch: Counts from 1; alternate flips go by it.
        indices: `(N,)` int64 on the CPU, the images' places in the training set.
    """

    seed: int
    epoch: int
    indices: Tensor

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


class Augmenter(Protocol):
    """Changes a batch `(N, C, H, W)` uint8 at random, into a new tensor of the same shape and device."""

    def __call__(self, images_NCHW: Tensor, draw: Draw) -> Tensor: ...  # noqa: N803 - shape suffix


def augmenter(config: AugmentConfig, mean: tuple[float, ...]) -> Augmenter:
    """Make the augmentation of a recipe.

    Args:
        config: The `[augment]` table.
        mean: The data set's mean per channel, 0..1, that holes and corners are filled with.

    Example:
        >>> config = AugmentConfig.model_validate({"transforms": [{"name": "HorizontalFlip", "p": 1.0}]})
        >>> flip = augmenter(config, mean=(0.5,))
        >>> image = torch.tensor([[[[1, 2]]]], dtype=torch.uint8)
        >>> flip(image, Draw(seed=0, epoch=1, indices=torch.tensor([0]))).flatten().tolist()
        [2, 1]
    """
    if config.engine == "albumentations":
        from convsmith.data.augment.per_image import Albumentations

        return Albumentations(config, mean)
    from convsmith.data.augment.batched import Batched

    return Batched(config, mean)
