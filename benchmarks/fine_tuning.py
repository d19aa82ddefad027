"""Fine-tuning the zoo's `cifar10-200k` on 500 photos of ten other classes, against training from nothing.

The photos are those of hands that show the digits 0 to 9, in the repository
ardamavi/Sign-Language-Digits-Dataset on GitHub (CC BY-SA 4.0; 2,062 photos of 100x100 pixels, of 218
students). None of its classes is one of CIFAR-10, so that the start cannot have seen the answers; it is a
photo set, small, and public. The photos of one student are not marked: some students are in the training set
and the test set, which helps both sides alike.

`FINE_TUNING_PHOTOS=DIR python -m benchmarks fine_tuning`, where DIR is the folder `Dataset` of the
repository, with a folder for each class. 50 photos per class are drawn by a seed for training, all others are
the test set. Both sides have the same net, AdamW, images of 32x32 pixels, augmentation, batch size and
epochs. Each one's settings are chosen on 20 % of the training photos, held out, with a seed of its own:
learning rate for both, and for fine-tuning also what is frozen and how fast the layers below the head learn.
Then three seeds are trained on all 500, and the test set is read once each. Results are cached in
`runs/fine-tuning/60-epochs/done.json`, so that an interrupted measurement goes on. `FINE_TUNING_EPOCHS=1`
shows that it works.
"""

import os
import shutil
from collections.abc import Mapping
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import convsmith as cs
from benchmarks.measure import cached, held_out_accuracy
from convsmith.errors import DataError
from convsmith.recipes.loader import load
from convsmith.system.rng import derive_seed

RECIPE, START = "cifar10-200k", "cifar10-200k"
PER_CLASS, SPLIT_SEED, TUNING_SEED, SEEDS = 50, 0, 100, range(3)
EPOCHS = int(os.environ.get("FINE_TUNING_EPOCHS", "60"))
RUNS = Path("runs/fine-tuning") / f"{EPOCHS}-epochs"
DONE = RUNS / "done.json"
HELD_OUT = "data.validation=0.2"
# A grid for each side; fine-tuning needs lower rates.
RATES = ("0.003", "0.01", "0.03")
TUNED_RATES = ("0.001", "0.003", "0.01")
BELOW: Mapping[str, tuple[str, ...]] = {
    "the same rate": (),
    "decay 0.5": ("train.layer_decay=0.5",),
    "frozen body": ("train.freeze=body",),
}


def main() -> str:
    photos = prepare(Path(os.environ.get("FINE_TUNING_PHOTOS", "datasets/sign-language-digits")))
    nothing = {f"lr {rate}": (f"train.optimizer.lr={rate}",) for rate in RATES}
    tuned = {
        f"lr {rate}, {below}": (f"train.optimizer.lr={rate}", f"train.start_from={START}", *fields)
        for rate, (below, fields) in product(TUNED_RATES, BELOW.items())
    }
    lines = []
    for name, grid in (("from nothing", nothing), ("fine-tuned", tuned)):
        chosen = best(name, grid, photos)
        accuracies = [
            cached(
                DONE, f"{name}, {chosen}, seed {seed}", partial(accuracy, name, grid[chosen], photos, seed)
            )
            for seed in SEEDS
        ]
        shown = ", ".join(f"{each:.2%}" for each in accuracies)
        lines.append(f"{name:<14} {mean(accuracies):.2%} {stdev(accuracies):6.2%}  ({shown})  {chosen}")
    return "\n".join(lines)


def prepare(source: Path) -> Path:
    """Copy the photos into a training set of `PER_CLASS` per class, and a test set of all others."""
    folder = RUNS.parent / "photos"
    if folder.is_dir():
        return folder
    classes = sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
    if len(classes) != 10:
        raise DataError(
            f"found {len(classes)} classes, expected 10",
            where=str(source),
            fix="clone github.com/ardamavi/Sign-Language-Digits-Dataset, and set FINE_TUNING_PHOTOS to its "
            "folder Dataset",
        )
    new = folder.with_name("photos.new")
    shutil.rmtree(new, ignore_errors=True)
    for label, path in enumerate(classes):
        photos = sorted(each for each in path.iterdir() if each.suffix.lower() in {".jpg", ".jpeg", ".png"})
        order = np.random.default_rng(derive_seed(SPLIT_SEED, label)).permutation(len(photos))
        for place, index in enumerate(order):
            split = new / ("train" if place < PER_CLASS else "test") / path.name
            split.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photos[index], split / photos[index].name)
    new.rename(folder)
    return folder


def overrides(photos: Path, fields: tuple[str, ...], seed: int) -> tuple[str, ...]:
    return (
        f"data.source={photos}",
        "data.resize=32",
        f"train.epochs={EPOCHS}",
        "train.batch_size=32",
        "train.microbatch_size=false",
        "train.optimizer=adamw",
        "brief={}",
        f"seed={seed}",
        *fields,
    )


def best(name: str, grid: Mapping[str, tuple[str, ...]], photos: Path) -> str:
    """Return the settings with the highest accuracy on the held-out training photos."""
    found = {}
    for setting, fields in grid.items():
        measure = partial(held_out_accuracy, RECIPE, (*overrides(photos, fields, TUNING_SEED), HELD_OUT))
        found[setting] = cached(DONE, f"tuning {name}, {setting}", measure)
        print(f"{found[setting]:.2%}  held out, {name}, {setting}", flush=True)
    return max(found, key=lambda setting: found[setting])


def accuracy(name: str, fields: tuple[str, ...], photos: Path, seed: int) -> float:
    """Train on all training photos, and return the accuracy on the test photos."""
    recipe = load(RECIPE, (*overrides(photos, fields, seed), f"name={name.replace(' ', '-')}-{seed}"))
    result = cs.train(recipe, runs=RUNS)
    print(f"{result.test.accuracy:.2%}  test, {name}, seed {seed}", flush=True)
    return result.test.accuracy
