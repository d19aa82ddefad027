"""Test accuracy of `cifar10-classic`'s net after 10 epochs, three seeds: this loop against a plain one.

Both have the recipe's optimiser, its schedule over 10 epochs, and its augmentation. Results are cached in
`runs/accuracy.json`.
"""

from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch

from benchmarks.measure import cached, whole_training
from benchmarks.plain import PlainLoop
from convsmith.data.normalize import Normalizer
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.metrics import evaluate_split

SEEDS, EPOCHS, DONE = range(3), 10, Path("runs/accuracy.json")


def main() -> str:
    accuracies: dict[str, list[float]] = {name: [] for name in LOOPS}
    for seed in SEEDS:
        for name in LOOPS:
            accuracies[name].append(cached(DONE, f"{name}, seed {seed}", partial(accuracy, name, seed)))
    return "\n".join(
        f"{name:<12} {mean(each):.2%}, standard deviation {stdev(each):.2%} "
        f"({', '.join(f'{accuracy:.2%}' for accuracy in each)})"
        for name, each in accuracies.items()
    )


def accuracy(name: str, seed: int) -> float:
    """Return the test accuracy after the last epoch."""
    return LOOPS[name](Session.load(load("cifar10-classic", [f"train.epochs={EPOCHS}", f"seed={seed}"])))


def ours(session: Session) -> float:
    metrics = whole_training(session)[-1]
    assert metrics.test is not None
    return metrics.test.accuracy


def plain(session: Session) -> float:
    loop = PlainLoop(session.recipe, session.data)
    for _ in range(EPOCHS):
        for _ in loop.epoch():
            pass
    normalize = Normalizer.of(session.data, torch.device("cpu"))
    return evaluate_split(loop.net, session.data.test, normalize, torch.float32).accuracy


LOOPS = {"convsmith": ours, "plain loop": plain}
