"""Images a second of the course's augmentation on one core: batched against albumentations."""

from collections.abc import Callable

import torch

from benchmarks.measure import in_turns, table
from convsmith.data.augment import Draw, augmenter
from convsmith.data.transforms import AugmentConfig
from convsmith.recipe.loader import load

BATCHES, CALLS, ROUNDS = (64, 128), 8, 9


def main() -> str:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = load("cifar10-classic").augment
    try:
        candidates = {
            f"{engine}, {batch} at a time": augmenting(config.model_copy(update={"engine": engine}), batch)
            for batch in BATCHES
            for engine in ("albumentations", "batched")
        }
        return table(in_turns(candidates, ROUNDS), "images/s")
    finally:
        torch.set_num_threads(threads)


def augmenting(config: AugmentConfig, batch: int) -> Callable[[], int]:
    """A function that changes some batches, and says how many images those were."""
    augment = augmenter(config, mean=(0.5, 0.5, 0.5))
    images = torch.randint(256, (batch, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def run() -> int:
        for seed in range(CALLS):
            augment(images, Draw(seed=seed, epoch=1, indices=torch.arange(batch)))
        return batch * CALLS

    return run
