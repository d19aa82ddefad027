"""Images per second of augmentation on one core: batched against albumentations, together and alone."""

from collections.abc import Callable
from functools import partial

import cv2
import torch
from torch import Tensor

from benchmarks.measure import in_turns, table
from benchmarks.plain import course_pipeline
from convsmith.data.augment.config import AugmentConfig
from convsmith.data.augment.engines import Draw, augmenter
from convsmith.data.augment.registry import TRANSFORMS
from convsmith.data.normalize import Normalizer
from convsmith.recipes.loader import load

BATCHES, CALLS, ROUNDS = (64, 128, 256), 8, 15
# Sides of images, and images in a batch, for each transform alone.
SIZES = ((32, 128), (224, 16))
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

# From a batch of uint8 images (N, C, H, W) and a seed to the augmented batch.
Augmentation = Callable[[Tensor, int], Tensor]


def main() -> str:
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = load("cifar10-classic").augment
    whole = {"albumentations": course_batches(), "batched": to_normalized(config)}
    alone = {
        engine: augmentation(config.model_copy(update={"engine": engine}))
        for engine in ("albumentations", "batched")
    }
    try:
        course = [
            f"{title}\n{table(in_turns(on_batches(augmentations), ROUNDS), 'images/s')}"
            for title, augmentations in (
                ("From uint8 images to a normalised float32 batch", whole),
                ("The three transforms alone", alone),
            )
        ]
        return "\n\n".join([*course, *map(each_transform, SIZES)])
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def each_transform(size: tuple[int, int]) -> str:
    """Return the images per second of both engines, and the ratio, of each transform with its defaults."""
    side, batch = size
    lines = [f"Each transform, {batch} images of {side}x{side}: images/s of albumentations, of ours, ratio"]
    for name in (transform.__name__ for transform in TRANSFORMS):
        configs = [
            AugmentConfig.model_validate({"engine": engine, "transforms": [{"name": name, "p": 1.0}]})
            for engine in ("albumentations", "batched")
        ]
        theirs, ours = in_turns(
            {each.engine: partial(repeated, augmentation(each), batch, side, 1) for each in configs}, ROUNDS
        )
        lines.append(f"| `{name}` | {theirs.median:,.0f} | {ours.median:,.0f} | {ours.ratio_to(theirs)} |")
    return "\n".join(lines)


def course_batches() -> Augmentation:
    """Build a batch as a course project's data set and loader do, without the loader's processes."""
    pipeline = course_pipeline(MEAN, STD)
    return lambda images, _: torch.stack(
        [pipeline(image=image)["image"] for image in images.permute(0, 2, 3, 1).numpy()]
    )


def augmentation(config: AugmentConfig) -> Augmentation:
    augment = augmenter(config, mean=MEAN)
    return lambda images, seed: augment(images, Draw(seed=seed, epoch=1, indices=torch.arange(len(images))))


def to_normalized(config: AugmentConfig) -> Augmentation:
    augment = augmentation(config)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    normalize = Normalizer(mean=mean, std=std)
    return lambda images, seed: normalize(augment(images, seed))


def on_batches(augmentations: dict[str, Augmentation]) -> dict[str, Callable[[], int]]:
    """Return each augmentation with each batch size, as functions that return the number of images."""
    return {
        f"{name}, batches of {batch}": partial(repeated, augment, batch)
        for batch in BATCHES
        for name, augment in augmentations.items()
    }


def repeated(augment: Augmentation, batch: int, side: int = 32, calls: int = CALLS) -> int:
    images = torch.randint(256, (batch, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for seed in range(calls):
        augment(images, seed)
    return batch * calls
