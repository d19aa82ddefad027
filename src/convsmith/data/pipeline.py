"""The one path from images to batches: take, augment, resize, normalise, mix."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.engines import Draw, augmenter
from convsmith.data.dataset import Split, TrainingData
from convsmith.data.images.memory_mapped import DiskImages
from convsmith.data.normalize import Normalizer
from convsmith.data.resize import resize_images
from convsmith.system.rng import derive_seed

# Purposes of random numbers; `training.gradients` has 3, for dropout.
_AUGMENT, _MIX = 1, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchSpec:
    """Which images form a batch, or one part of it. With the run's seed it determines every random draw.

    Attributes:
        indices: `(N,)` int64 on the CPU, positions in the training set.
        epoch: Counts from 1.
        step: Position of the batch in its epoch, from 0.
        image_size: Height and width of the batch's images; None keeps the original size.
        part: Position of this part in the batch, from 0.
    """

    indices: Tensor
    epoch: int
    step: int
    image_size: int | None = None
    part: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, num_parts: int) -> list["BatchSpec"]:
        """Return up to `num_parts` parts of nearly equal size, in order, of at least two images each."""
        size = max(-(-len(self) // num_parts), 2)
        # A last part of one image joins the one before.
        starts = range(0, max(len(self) - 1, 1), size)
        ends = [*starts[1:], len(self)]
        chunks = [self.indices[start:end] for start, end in zip(starts, ends, strict=True)]
        return [replace(self, indices=indices, part=part) for part, indices in enumerate(chunks)]

    def derive_seed(self, seed: int, purpose: int) -> int:
        """Return the seed of one purpose, from the run's seed."""
        return derive_seed(seed, self.epoch, self.step, self.part, purpose)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images and labels as the net sees them.

    Attributes:
        images: `(N, C, H, W)` float32, normalised, channels last in memory.
        labels: `(N,)` int64.
        targets: What the loss compares logits with: the labels, or probabilities `(N, num_classes)`.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor


class DeviceImages:
    """A split's images and labels on a device; images on disk are read batch by batch."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        self.images_NHWC = (
            split.images
            if isinstance(split.images, DiskImages)
            else torch.from_numpy(split.images).to(device)
        )
        self.labels = torch.from_numpy(split.labels).to(device)

    def labels_of(self, indices: Tensor) -> Tensor:
        """Return the labels `(N,)` of images by their positions, `(N,)` int64 on the CPU."""
        return self.labels.index_select(0, indices.to(self.device, non_blocking=True))

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return images `(N, C, H, W)` uint8, channels last in memory, and labels `(N,)`.

        Args:
            indices: `(N,)` int64 on the CPU.
        """
        places = indices.to(self.device, non_blocking=True)
        if isinstance(self.images_NHWC, DiskImages):
            read = torch.from_numpy(self.images_NHWC[indices.numpy()])
            batch_NHWC = read.to(self.device, non_blocking=True)  # noqa: N806
        else:
            batch_NHWC = self.images_NHWC.index_select(0, places)  # noqa: N806
        return batch_NHWC.permute(0, 3, 1, 2), self.labels.index_select(0, places)


class Pipeline:
    """Make the batches of a training set. Equal specs give equal batches, from any thread.

    Args:
        data: The training images, and the statistics that normalise them.
        config: The `[augment]` table of a recipe.
        seed: The seed of augmentation and mixing.
        device: The device that the batches are on.

    Example:
        >>> from convsmith.data.config import DataConfig
        >>> from convsmith.data.dataset import load
        >>> data = load(DataConfig(source="digits"))
        >>> pipeline = Pipeline(data, AugmentConfig(), seed=0, device=torch.device("cpu"))
        >>> batch = pipeline(BatchSpec(indices=torch.arange(4), epoch=1, step=0, image_size=6))
        >>> tuple(batch.images.shape), len(batch.targets)
        ((4, 1, 6, 6), 4)
    """

    def __init__(self, data: TrainingData, config: AugmentConfig, *, seed: int, device: torch.device) -> None:
        self.images = DeviceImages(data.train, device)
        self.augment = augmenter(config, data.mean)
        self.normalize = Normalizer.of(data, device)
        self.mix = config.mix
        self.num_classes = len(data.class_names)
        self.seed, self.device = seed, device

    def __call__(self, spec: BatchSpec) -> Batch:
        images, labels = self.images.take(spec.indices)
        draw = Draw(seed=spec.derive_seed(self.seed, _AUGMENT), epoch=spec.epoch, indices=spec.indices)
        images = self.augment(images, draw)
        if spec.image_size is not None:
            images = resize_images(images, spec.image_size)
        images, targets = self.normalize(images), labels
        if self.mix is not None:
            probabilities = functional.one_hot(labels, self.num_classes).float()
            images, targets = self.mix.apply(images, probabilities, spec.derive_seed(self.seed, _MIX))
        return Batch(images=images, labels=labels, targets=targets)
