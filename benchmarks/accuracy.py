"""Test accuracy of `cifar10-classic`'s net after 10 epochs, three seeds: this loop against a plain one.

Both have the recipe's optimiser, its schedule over 10 epochs, and its augmentation. What is done is kept in
`runs/accuracy.json` and not done again.
"""

from pathlib import Path
from statistics import mean, stdev

import torch

from benchmarks.plain import PlainLoop
from benchmarks.throughput import trainer_of
from convsmith import files
from convsmith.data.images import ImageData
from convsmith.recipe.loader import load
from convsmith.recipe.schema import Recipe
from convsmith.training.batches import Normalizer
from convsmith.training.score import evaluate_split
from convsmith.workflow.prepare import prepare

SEEDS, EPOCHS, DONE = range(3), 10, Path("runs/accuracy.json")


def main() -> str:
    files.make_folder(DONE.parent)
    done = files.read_json(DONE) if DONE.is_file() else {}
    for seed in SEEDS:
        for name, run in (("convsmith", ours), ("plain loop", plain)):
            key = f"{name}, seed {seed}"
            if key not in done:
                prepared = prepare(load("cifar10-classic", [f"train.epochs={EPOCHS}", f"seed={seed}"]))
                done[key] = run(prepared.recipe, prepared.data)
                files.write_json(DONE, done)
    lines = []
    for name in ("convsmith", "plain loop"):
        found = [done[f"{name}, seed {seed}"] for seed in SEEDS]
        told = ", ".join(f"{accuracy:.2%}" for accuracy in found)
        lines.append(f"{name:<12} {mean(found):.2%}, standard deviation {stdev(found):.2%} ({told})")
    return "\n".join(lines)


def ours(recipe: Recipe, data: ImageData) -> float:
    trainer = trainer_of(recipe, data)
    facts = [trainer.epoch() for _ in range(EPOCHS)]
    trainer.close()
    return facts[-1].test.accuracy


def plain(recipe: Recipe, data: ImageData) -> float:
    loop = PlainLoop(recipe, data)
    for _ in range(EPOCHS):
        for _ in loop.epoch():
            pass
    normalize = Normalizer.of(data, torch.device("cpu"))
    return evaluate_split(loop.net, data.test, normalize, torch.float32).accuracy
