"""What a teacher adds to `cifar10-sprint`: accuracy on held-out training images with one and without.

Teachers and students learn from the same 45,000 images and are measured on the same 5,000. Three seeds a row;
a row differs from the student that learns alone by a mean over seeds of differences within a seed. What is
done is kept in `runs/distillation/` and not done again.
"""

from functools import partial
from pathlib import Path
from statistics import mean, stdev

import convsmith as cs
from benchmarks.ablation import HELD_OUT, SEEDS, difference
from benchmarks.measure import held_out_accuracy, kept
from convsmith.recipes.loader import load

RUNS = Path("runs/distillation")
STUDENT = "cifar10-sprint"
# By how they are named in the table: recipe and seed; weights of the teacher, and temperatures, to try.
TEACHERS = {
    "larger, longer": ("cifar10-sprint-300s", 0, ((0.9, 4.0), (0.5, 4.0), (0.5, 1.0))),
    "the same": (STUDENT, 100, ((0.9, 4.0),)),
}


def main() -> str:
    variants: dict[str, tuple[str, ...]] = {"alone": ()}
    for name, (recipe, seed, settings) in TEACHERS.items():
        folder = taught(recipe, seed)
        for alpha, temperature in settings:
            variants[f"teacher {name}; weight {alpha}, temperature {temperature:g}"] = (
                f"train.teacher={folder}",
                f"train.distillation={{alpha={alpha}, temperature={temperature}}}",
            )
    found: dict[str, list[float]] = {name: [] for name in variants}
    for seed in SEEDS:
        for name, fields in variants.items():
            overrides = (HELD_OUT, *fields, f"seed={seed}")
            key = f"{STUDENT} {' '.join(overrides)}"
            found[name].append(kept(RUNS / "done.json", key, partial(held_out_accuracy, STUDENT, overrides)))
            print(f"{found[name][-1]:.2%}  {name}, seed {seed}", flush=True)
    base, *_ = found.values()
    return "\n".join(
        f"{name:<56} {mean(each):.2%} {stdev(each):6.2%} {difference(each, base)}"
        for name, each in found.items()
    )


def taught(recipe: str, seed: int) -> Path:
    """The run of a teacher, trained if it is not there yet."""
    name = f"{recipe}-teacher-{seed}"
    folder = RUNS / f"{name}-1"
    if not (folder / "manifest.json").is_file():
        cs.train(load(recipe, (HELD_OUT, f"seed={seed}", f"name={name}")), runs=RUNS)
    return folder
