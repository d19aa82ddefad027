"""Augmentations of numpy images, by either engine."""

import itertools
from collections.abc import Callable
from types import ModuleType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsmith.data.augment import each_image
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


def photograph(size: int = 32) -> Images:
    """Smooth noise: like a photograph, it has neighbours that are alike."""
    rng = np.random.default_rng(3)
    return np.asarray(
        cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), (0, 0), 1.5), np.uint8
    )


def varied(count: int, height: int = 20, width: int = 33, channels: int = 3) -> Images:
    """Return images of all kinds: noise, smooth ones, dark ones, flat ones, and some of two levels."""
    rng = np.random.default_rng(height + channels)
    images = rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    for index, image in enumerate(images):
        kind = index % 5
        if kind == 1:
            low, span = rng.integers(0, 200), rng.integers(1, 56)
            image[...] = low + image % span
        elif kind == 2:
            image[...] = np.asarray(cv2.GaussianBlur(image, (0, 0), 2)).reshape(image.shape)
        elif kind == 3:
            image[...] = image[0, 0]
        elif kind == 4:
            image[...] = np.where(image > 128, *rng.integers(0, 256, 2))
    return images


def changed(name: str, module: ModuleType, images: Images, *values: NDArray[np.float32]) -> Images:
    """Return what a function changes in a batch by PyTorch.

    The function of the same name for single images, by OpenCV, must agree to a level, nearly everywhere.
    """
    batch = getattr(module, name)(tensor_of(images), *map(torch.from_numpy, values))
    assert batch.dtype == torch.uint8
    lists = [each.tolist() if each.ndim == 1 else each for each in values]
    single = each_image.each_image(tensor_of(images), getattr(each_image, name), *lists)
    apart = (batch.int() - single.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.03
    return np.asarray(batch.permute(0, 2, 3, 1).numpy())


def batch(count: int = 64, size: int = 8) -> tuple[Tensor, Tensor]:
    """Return `count` images of `count` classes; each pixel is the class of its image."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).repeat(1, 3, size, size), torch.eye(count)
