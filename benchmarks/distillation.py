"""The contribution of a teacher to `cifar10-sprint`: held-out accuracy with one and without.

Teachers and students train on the same 45,000 images and are measured on the same 5,000. Three seeds per row;
a difference is the mean over seeds of the differences within a seed. Results are cached in
`runs/distillation/`.
"""

from functools import partial
from pathlib import Path
from statistics import mean, stdev

import convsmith as cs
from benchmarks.ablation import HELD_OUT, SEEDS, difference
from benchmarks.measure import cached, held_out_accuracy
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
                f"train.teacher={folder}",
                f"train.distillation={{alpha={alpha}, temperature={temperature}}}",
            )
    accuracies: dict[str, list[float]] = {name: [] for name in variants}
    for seed in SEEDS:
        for name, fields in variants.items():
            overrides = (HELD_OUT, *fields, f"seed={seed}")
            key = f"{STUDENT} {' '.join(overrides)}"
            measure = partial(held_out_accuracy, STUDENT, overrides)
            accuracies[name].append(cached(RUNS / "done.json", key, measure))
            print(f"{accuracies[name][-1]:.2%}  {name}, seed {seed}", flush=True)
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
