"""The loop of a course project: eager fp32, a `DataLoader` with workers, albumentations image by image.

Trains the same net on the same data with the same optimiser, batch size and augmentation as a recipe.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from convsmith.data.dataset import ImageDataset
from convsmith.data.images.memory_mapped import Images as Pixels
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import TrainingSession
from convsmith.training.learning_rate import LearningRate

WORKERS = 2

Channels = tuple[float, ...]
Pipeline = Callable[..., dict[str, Tensor]]


class Images(Dataset[tuple[Tensor, int]]):
    """One image and label at a time, augmented and normalised by albumentations."""

    def __init__(self, images_NHWC: Pixels, labels: NDArray[np.int64], pipeline: Pipeline) -> None:  # noqa: N803
        self.images, self.labels, self.pipeline = images_NHWC, labels, pipeline

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        augmented = self.pipeline(image=self.images[index])["image"]
        return augmented, int(self.labels[index])


def course_pipeline(mean: Channels, std: Channels) -> Pipeline:
    """Return the course's augmentation of a `(H, W, C)` image, as its projects write it."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
    import cv2
    from albumentations.pytorch import ToTensorV2

    fill = tuple(255 * value for value in mean)
    pipeline: Pipeline = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(
                translate_percent=(-0.0625, 0.0625),
                scale=(0.9, 1.1),
                rotate=(-15, 15),
                keep_ratio=True,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            albumentations.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=(16, 16),
                hole_width_range=(16, 16),
                fill=fill,
                p=0.5,
            ),
            albumentations.Normalize(mean=mean, std=std),
            ToTensorV2(),
        ]
    )
    return pipeline


class PlainLoop:
    """Train the net of a recipe, one batch per step."""

    def __init__(self, recipe: Recipe, data: ImageDataset) -> None:
        torch.manual_seed(recipe.seed)
        self.net = TrainingSession.of(recipe, data).build_net()
        images = Images(data.train.images, data.train.labels, course_pipeline(data.mean, data.std))
        self.loader = DataLoader(
            images,
            batch_size=recipe.train.batch_size,
            shuffle=True,
            num_workers=WORKERS,
            persistent_workers=True,
        )
        self.optimizers = recipe.train.optimizer.build(self.net)
        self.rate = LearningRate(
            recipe.train.schedule,
            self.optimizers,
            epochs=recipe.train.epochs,
            steps_per_epoch=len(self.loader),
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.train.label_smoothing)

    def epoch(self) -> Iterator[int]:
        """Train one epoch; yield the number of images after each step."""
        self.net.train()
        for images, labels in self.loader:
            (optimizer,) = self.optimizers
            optimizer.zero_grad()
            loss = self.criterion(self.net(images), labels)
            loss.backward()
            optimizer.step()
            self.rate.step()
            yield len(labels)
