"""Augmentations of numpy images, by either engine."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.engines import Draw, augmenter

Images = NDArray[np.uint8]
Augmentation = Callable[[Images], Images]
Factory = Callable[..., Augmentation]
MEAN = (0.2, 0.4, 0.6)
COURSE: list[dict[str, object]] = [
    {"name": "HorizontalFlip"},
    {"name": "ShiftScaleRotate", "rotate_limit": 15.0},
    {"name": "CoarseDropout"},
]


def tensor_of(images_NHWC: Images) -> Tensor:  # noqa: N803 - shape suffix
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)


def make_augmentation(
    engine: str, *transforms: dict[str, object], mean: tuple[float, ...] = MEAN, seed: int = 0
) -> Augmentation:
    """Return the augmentation of a recipe; each call is the next batch of a training."""
    augment = augmenter(
        AugmentConfig.model_validate({"engine": engine, "transforms": list(transforms)}), mean
    )
    numbers = itertools.count(1000 * seed)

    def augment_images(images: Images) -> Images:
        draw = Draw(seed=next(numbers), epoch=1, indices=torch.arange(len(images)))
        return augment(tensor_of(images), draw).permute(0, 2, 3, 1).numpy()

    return augment_images


def noise(count: int, size: int = 32, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def batch(count: int = 64, size: int = 8) -> tuple[Tensor, Tensor]:
    """Return `count` images of `count` classes; each pixel is the class of its image."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).repeat(1, 3, size, size), torch.eye(count)
