"""Images a second of the course's augmentation on one core: batched against albumentations."""

import torch

from benchmarks.measure import in_turns, table
from convsmith.data.augment import Draw, augmenter
from convsmith.recipe.loader import load

BATCH, CALLS, ROUNDS = 128, 8, 9


def main() -> str:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = load("cifar10-classic").augment
    images = torch.randint(256, (BATCH, 32, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    try:
        candidates = {}
        for engine in ("albumentations", "batched"):
            augment = augmenter(config.model_copy(update={"engine": engine}), mean=(0.5, 0.5, 0.5))

            def run(augment=augment) -> int:  # type: ignore[no-untyped-def] # noqa: ANN001
                for seed in range(CALLS):
                    augment(images, Draw(seed=seed, epoch=1, indices=torch.arange(BATCH)))
                return BATCH * CALLS

            candidates[engine] = run
        return table(in_turns(candidates, ROUNDS), "images/s")
    finally:
        torch.set_num_threads(threads)
