"""`python -m benchmarks [NAME]...`: measure, in one process tree, and print the results.

Names: startup, report, augmentation, throughput, backward, precision, flops, scaling (all by default); and
those that train for minutes or hours: accuracy, sprint, ablation, distillation, fine_tuning, imbalance,
label_errors, first_recipe; shipping, which exports the zoo; opening, which reads thousands of photographs;
processes and grids, which start several processes; and inspectors and near_duplicates, which measure
correctness.
"""

import sys
from importlib import import_module

from benchmarks.measure import machine

SHORT = ("startup", "report", "augmentation", "throughput", "backward", "precision", "flops", "scaling")
LONG = (
    *(
        "accuracy",
        "sprint",
        "ablation",
        "distillation",
        "fine_tuning",
        "imbalance",
        "label_errors",
        "first_recipe",
        "shipping",
    ),
    *("inspectors", "near_duplicates", "opening", "many_images", "processes", "grids"),
)


def main() -> None:
    names = sys.argv[1:] or list(SHORT)
    if unknown := [name for name in names if name not in (*SHORT, *LONG)]:
        sys.exit(f"unknown benchmark {unknown[0]!r}, expected one of {', '.join((*SHORT, *LONG))}")
    print(machine(), flush=True)
    for name in names:
        module = import_module(f"benchmarks.{name}")
        print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        print(module.main(), flush=True)


if __name__ == "__main__":
    main()
