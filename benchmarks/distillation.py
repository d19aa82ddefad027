"""The contribution of a teacher to `cifar10-sprint`: held-out accuracy with one and without.

Teachers and students train on the same 45,000 images and are measured on the same 5,000. Three seeds per row;
a difference is the mean over seeds of the differences within a seed. Results are cached in
`runs/distillation/`.
"""

from pathlib import Path
from statistics import mean, stdev

import convsmith as cs
from benchmarks.ablation import HELD_OUT, SEEDS, difference
from benchmarks.measure import held_out_by_seed
from convsmith.recipes.loader import load

RUNS = Path("runs/distillation")
STUDENT = "cifar10-sprint"
# Name in the table -> recipe, seed, and pairs of alpha and temperature.
TEACHERS = {
    "larger, longer": ("cifar10-sprint-300s", 0, ((0.9, 4.0), (0.5, 4.0), (0.5, 1.0))),
    "the same": (STUDENT, 100, ((0.9, 4.0),)),
}


def main() -> str:
    variants: dict[str, tuple[str, ...]] = {"alone": ()}
    for name, (recipe, seed, settings) in TEACHERS.items():
        folder = teacher_run(recipe, seed)
        for alpha, temperature in settings:
            variants[f"teacher {name}; weight {alpha}, temperature {temperature:g}"] = (
                f"train.teacher={folder.resolve()}",
                f"train.distillation={{alpha={alpha}, temperature={temperature}}}",
            )
    held_out = {name: (HELD_OUT, *fields) for name, fields in variants.items()}
    accuracies = held_out_by_seed(RUNS / "done.json", STUDENT, held_out, SEEDS)
    base, *_ = accuracies.values()
    return "\n".join(
        f"{name:<56} {mean(each):.2%} {stdev(each):6.2%} {difference(each, base)}"
        for name, each in accuracies.items()
    )


def teacher_run(recipe: str, seed: int) -> Path:
    """Return the run of a teacher; train it if it is missing."""
    name = f"{recipe}-teacher-{seed}"
    folder = RUNS / f"{name}-1"
    if not (folder / "manifest.json").is_file():
        cs.train(load(recipe, (HELD_OUT, f"seed={seed}", f"name={name}")), runs=RUNS)
    return folder
