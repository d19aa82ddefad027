"""Label errors of a training set: 2 % of MNIST's labels are flipped; how many are found, at which precision.

Each flipped label becomes one of the nine others, all equally probable. `convsmith folds` trains the net of
`mnist-5k` on five folds for a few epochs, and cleanlab searches the 60,000 out-of-fold predictions. Precision
and recall are those of its list against the flips. MNIST's own label errors, and its ambiguous digits, count
as false. The number of epochs is chosen by the accuracy on the held-out folds, with the labels as given.

`at_100`, `at_500` and `at_flips` are the shares of flips among the first 100 and 500 of all images, and among
as many as there are flips, ranked by the probability of their label, the smallest first: a ranking that needs
no list. `seconds` are those of all trainings, evaluation of each epoch included.

A finished setting is a row of `results/label_errors.csv` and is not repeated. An interrupted one continues in
the cache folder.

    python -m benchmarks label_errors                      # a quarter of an hour of one core
    python -m benchmarks.label_errors --epochs 1 --out /tmp/label_errors.csv
"""

import argparse
import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import convsmith as cs
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, image_ids, load
from convsmith.system import files, reading
from convsmith.system.device import machine_record
from convsmith.system.folders import cache_folder
from convsmith.text import plural

RECIPE, FOLDS, SHARE = "mnist-5k", 5, 0.02
# The averages and the warm-up of the recipe are for 50 epochs.
SETTINGS = ("train.ema=0.0", "train.schedule.warmup_epochs=0.5")
EPOCHS, SEEDS = (1, 2), 1
RESULTS = Path("results/label_errors.csv")
COLUMNS = (
    "recipe", "epochs", "folds", "seed", "images", "flips", "held_out_accuracy", "true_accuracy", "listed",
    "found", "precision", "recall", "at_100", "at_500", "at_flips", "seconds", "hardware", "date", "command",
)  # fmt: skip


def main(epochs: Sequence[int] = EPOCHS, seeds: int = SEEDS, out: Path = RESULTS) -> str:
    data = load(DataConfig(source="mnist"))
    done = rows(out)
    for seed in range(seeds):
        for each in epochs:
            if (str(each), str(seed)) not in {(row["epochs"], row["seed"]) for row in done}:
                done.append(measure(data, each, seed))
                write(done, out)
                print(table(done[-1:]), flush=True)
    return table(done)


def flipped(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return labels of which a share, chosen at random, is another class, all others equally probable.

    >>> labels = np.arange(1000) % 10
    >>> int((flipped(labels, 10, 0) != labels).sum())
    20
    """
    random = np.random.default_rng(seed)
    chosen = random.choice(len(labels), round(SHARE * len(labels)), replace=False)
    result = labels.copy()
    result[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return result


def measure(data: ImageDataset, epochs: int, seed: int) -> dict[str, str]:
    """Train a setting on all folds and return its row."""
    train, classes = data.train, len(data.class_names)
    given = flipped(train.labels, classes, seed)
    recipe = cs.load_recipe(RECIPE, f"train.epochs={epochs}", f"seed={seed}", *SETTINGS)
    result = cs.folds(
        recipe,
        count=FOLDS,
        out=cache_folder() / "benchmarks" / f"label-errors-{epochs}-{seed}",
        data={
            "train": (np.asarray(train.images), given),
            "test": (np.asarray(data.test.images), data.test.labels),
        },
        log=lambda line: print(line, flush=True),
    )
    assert result.label_errors is not None
    # The place in the source is that in the array of images.
    places = np.array([int(location.rpartition(" ")[2]) for location in result.locations])
    predictions, truth = result.predictions, train.labels[places]
    assert np.array_equal(predictions.labels, given[places])
    assert predictions.ids is not None
    assert np.array_equal(predictions.ids, image_ids(train.images)[places])
    wrong = predictions.labels != truth
    listed = np.array([each.index for each in result.label_errors.images])
    own = predictions.probabilities[np.arange(len(wrong)), predictions.labels]
    ranked = wrong[np.argsort(own, kind="stable")]
    machine, found = machine_record(), int(wrong[listed].sum())
    return {
        "recipe": RECIPE,
        "epochs": str(epochs),
        "folds": str(FOLDS),
        "seed": str(seed),
        "images": str(len(wrong)),
        "flips": str(int(wrong.sum())),
        "held_out_accuracy": f"{100 * result.metrics.accuracy:.2f}",
        "true_accuracy": f"{100 * (predictions.predicted == truth).mean():.2f}",
        "listed": str(len(listed)),
        "found": str(found),
        "precision": f"{100 * found / len(listed):.2f}",
        "recall": f"{100 * found / wrong.sum():.2f}",
        **{
            f"at_{name}": f"{100 * ranked[:count].mean():.2f}"
            for name, count in (("100", 100), ("500", 500), ("flips", int(wrong.sum())))
        },
        "seconds": f"{sum(fold.seconds for fold in result.results.folds):.0f}",
        "hardware": f"{plural(torch.get_num_threads(), 'core')}, {machine['processor']}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": "python -m benchmarks label_errors",
    }


def rows(path: Path) -> list[dict[str, str]]:
    """Return the finished settings."""
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(reading.read_text(path))))


def write(done: Sequence[dict[str, str]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(done)
    files.write_text(path, text.getvalue())


def table(done: Sequence[dict[str, str]]) -> str:
    """Return the settings as lines."""
    names = {
        "epochs": "epochs",
        "seed": "seed",
        "held_out_accuracy": "held out, %",
        "listed": "listed",
        "found": "found",
        "precision": "precision, %",
        "recall": "recall, %",
        "at_flips": "at flips, %",
    }
    lines = [" ".join(f"{head:>12}" for head in names.values())]
    lines += [" ".join(f"{row[name]:>12}" for name in names) for row in done]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    print(main(**vars(parser.parse_args())))
