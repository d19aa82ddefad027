"""Imbalanced CIFAR-10 (1:100): balanced accuracy without anything, with class weights and with sampling.

The training set is that of the long-tail literature (Cui et al., "Class-Balanced Loss Based on Effective
Number of Samples", arXiv 1901.05555): class `i` of 10 has `5000 * 0.01 ** (i / 9)` images, 5,000 to 50. The
test set is that of CIFAR-10, balanced, so that its accuracy is the balanced accuracy. The net and the
augmentation are those of `cifar10-sprint`, for 20 epochs of 12,406 images: as many images as in its own 5
epochs.

The subset is written as parquet files into the cache folder. A finished training is a row of
`results/imbalance.csv` and is not repeated.

    python -m benchmarks imbalance                      # three seeds, about six minutes of one core each
    python -m benchmarks.imbalance --epochs 1 --seeds 1 --out /tmp/imbalance.csv
"""

import argparse
import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image

from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, Split, load
from convsmith.evaluation.metrics import compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.session import Session
from convsmith.system import files, reading
from convsmith.system.device import machine_record
from convsmith.system.folders import cache_folder
from convsmith.training.metrics import compute_logits

RATIO, LARGEST, SUBSET_SEED = 0.01, 5000, 0
RECIPE, EPOCHS, SEEDS = "cifar10-sprint", 20, 3
VARIANTS = {
    "nothing": (),
    "class weights": ("train.class_weights=balanced",),
    "balanced sampling": ("train.sampling=balanced",),
}
RESULTS = Path("results/imbalance.csv")
COLUMNS = (
    "variant", "seed", "epochs", "balanced_accuracy", "macro_f1", "recalls", "seconds", "hardware", "date",
)  # fmt: skip


def main(epochs: int = EPOCHS, seeds: int = SEEDS, out: Path = RESULTS) -> str:
    source = subset_folder()
    done = rows(out)
    for seed in range(seeds):
        for variant in VARIANTS:
            if (variant, str(seed), str(epochs)) not in {key(row) for row in done}:
                done.append(measure(source, variant, seed, epochs))
                write(done, out)
                last = done[-1]
                print(f"{last['balanced_accuracy']} %  {variant}, seed {seed}", flush=True)
    return table([row for row in done if row["epochs"] == str(epochs)])


def long_tail_counts(classes: int = 10) -> list[int]:
    """Return the training images of each class.

    >>> long_tail_counts()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    return [int(LARGEST * RATIO ** (place / (classes - 1))) for place in range(classes)]


def subset_folder() -> Path:
    """Return the folder with the parquet files of the subset; write them if they are missing."""
    folder = cache_folder() / "benchmarks" / "cifar10-long-tail-100"
    done = folder / "complete"
    if not done.is_file():
        data = load(DataConfig(source="cifar10"))
        random, chosen = np.random.default_rng(SUBSET_SEED), []
        for label, count in enumerate(long_tail_counts(len(data.class_names))):
            chosen.append(random.permutation(np.flatnonzero(data.train.labels == label))[:count])
        train = data.train.select(np.sort(np.concatenate(chosen)))
        for name, split in (("train", train), ("test", data.test)):
            write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", split, data)
        done.touch()
    return folder


def write_parquet(path: Path, split: Split, data: ImageDataset) -> None:
    """Write a split as the Hugging Face hub has it: PNG, and labels with their names."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as Picture

    columns = {
        "img": [{"bytes": png(image), "path": None} for image in split.images],
        "label": split.labels.tolist(),
    }
    features = Features({"img": Picture(), "label": ClassLabel(names=list(data.class_names))})
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=features).to_parquet(str(path))


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def measure(source: Path, variant: str, seed: int, epochs: int) -> dict[str, str]:
    """Train a variant and return its row."""
    overrides = (f"data.source={source}", f"train.epochs={epochs}", f"seed={seed}", *VARIANTS[variant])
    session = Session.load(load_recipe(RECIPE, overrides))
    net = session.build_net()
    history = session.fit(net)
    with session.threads():
        logits = compute_logits(net, session.data.test, session.normalizer, session.dtype).numpy()
    test = Predictions(logits=logits, labels=session.data.test.labels)
    metrics = compute_metrics(test, session.data.class_names)
    machine = machine_record()
    return {
        "variant": variant,
        "seed": str(seed),
        "epochs": str(epochs),
        "balanced_accuracy": f"{100 * (metrics.balanced_accuracy or 0):.2f}",
        "macro_f1": "" if metrics.macro_f1 is None else f"{100 * metrics.macro_f1:.2f}",
        "recalls": " ".join(f"{100 * (each.recall or 0):.1f}" for each in metrics.classes),
        "seconds": f"{sum(each.train_seconds for each in history):.0f}",
        "hardware": f"{machine['cores']} cores, {machine['processor']}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def rows(path: Path) -> list[dict[str, str]]:
    """Return the finished trainings."""
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(reading.read_text(path))))


def write(done: list[dict[str, str]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(done)
    files.write_text(path, text.getvalue())


def key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["variant"], row["seed"], row["epochs"]


def table(done: list[dict[str, str]]) -> str:
    """Return mean and deviation of each variant, with the mean recall of the largest and smallest classes."""
    heads = ("balanced accuracy, %", "macro F1, %", "3 largest", "3 smallest")
    lines = [f"{'':<20} {heads[0]:>22} {heads[1]:>12} {heads[2]:>10} {heads[3]:>10}"]
    for variant in VARIANTS:
        own = [row for row in done if row["variant"] == variant]
        if not own:
            continue
        values = [float(row["balanced_accuracy"]) for row in own]
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        scores = [row["macro_f1"] for row in own]
        f1 = f"{mean(map(float, scores)):.2f}" if all(scores) else "undefined"
        recalls = np.array([[float(each) for each in row["recalls"].split()] for row in own]).mean(0)
        lines.append(
            f"{variant:<20} {f'{mean(values):.2f}{spread}':>22} {f1:>12} {recalls[:3].mean():>10.1f} "
            f"{recalls[-3:].mean():>10.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    print(main(**vars(parser.parse_args())))
