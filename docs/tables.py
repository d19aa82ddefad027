"""Write the tables of measured results into the documentation, from the CSV files in `results/`.

    python docs/tables.py          # rewrite every marked region
    python docs/tables.py --check  # exit with 1 if one is out of date

A region begins with `<!-- table: NAME -->` and ends with `<!-- end -->`; NAME is a key of `TABLES`.
"""

import csv
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, mode, stdev

import convsmith as cs
from convsmith.data.dataset import CANONICAL
from convsmith.recipes.fit import analyze_recipe

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
REGION = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
TITLES = {"cifar10": "CIFAR-10", "mnist": "MNIST"}

Row = dict[str, str]


def read(name: str) -> list[Row]:
    with (ROOT / "results" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TRAININGS = read("trainings")


def trainings(recipe: str, variant: str = "") -> list[Row]:
    """Return the runs of a recipe. The empty variant is the recipe as it stands."""
    return [row for row in TRAININGS if (row["recipe"], row["variant"]) == (recipe, variant)]


def numbers(rows: Iterable[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows if row[column]]


def accuracy(recipe: str) -> float:
    """Return the mean test accuracy of a recipe's seeds, in percent."""
    return mean(numbers(trainings(recipe), "test_accuracy"))


def markdown(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Format a table; a column whose heading begins with `>` is aligned to the right."""
    names = head.split("|")
    lines = [[name.lstrip(">") for name in names], ["---:" if name[:1] == ">" else "---" for name in names]]
    return "\n".join(re.sub(" +", " ", f"| {' | '.join(line)} |") for line in [*lines, *rows])


def spread(values: list[float]) -> str:
    return f"{stdev(values):.2f}" if len(values) > 1 else ""


def duration(seconds: float) -> str:
    if seconds < 300:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def training_time(recipe: str) -> str:
    """Return the mean training time on the number of cores that most seeds were timed on."""
    timed = [row for row in trainings(recipe) + trainings(recipe, "repeat") if row["seconds"]]
    if not timed:
        return "not timed"
    cores = mode(row["hardware"].split(",")[0] for row in timed)
    seconds = numbers([row for row in timed if row["hardware"].startswith(f"{cores},")], "seconds")
    return f"{duration(mean(seconds))}, {cores}"


def parameters(recipe: str) -> int:
    """Return the number of parameters of a recipe: as measured, or by arithmetic."""
    if runs := trainings(recipe):
        return int(runs[0]["parameters"])
    config = cs.load_recipe(recipe)
    return analyze_recipe(config, CANONICAL[config.data.source].info, None).parameters


def recipes() -> str:
    """Return the README's table: every recipe but those of the assignments, by data set and size."""
    order = ["digits", "mnist", "cifar10"]
    every = {recipe.name: recipe for recipe in cs.list_recipes()}
    known = {name: recipe for name, recipe in every.items() if not name.startswith("course-")}
    size = {name: parameters(name) for name in known}
    epochs = {name: recipe.train.epochs for name, recipe in known.items()}
    names = sorted(known, key=lambda name: (order.index(known[name].data.source), size[name], epochs[name]))
    rows = []
    for name in names:
        share, seeds = f"{accuracy(name):.2f} %", str(len(trainings(name)))
        text = known[name].description
        rows.append(
            [f"`{name}`", text, f"{size[name]:,}", str(epochs[name]), share, seeds, training_time(name)]
        )
    return markdown("recipe|description|>parameters|>epochs|>test accuracy|>seeds|training", rows)


def by_seed(label: str, rows: list[tuple[str, list[Row]]], seeds: int) -> str:
    """Return one row for each group: accuracy of every seed, mean and standard deviation."""
    body = []
    for name, runs in rows:
        values = numbers(runs, "test_accuracy")
        cells = [f"{value:.2f}" for value in values]
        body.append([name, *cells, *[""] * (seeds - len(cells)), f"**{mean(values):.2f}**", spread(values)])
    return markdown(f"{label}|{'|'.join(f'>seed {seed}' for seed in range(seeds))}|>mean|>deviation", body)


def sprint(variants: dict[str, str]) -> str:
    groups = {f"`{name}`": trainings(name, variant) for name, variant in variants.items()}
    return by_seed("test accuracy, %", list(groups.items()), 5)


def sprint_times() -> str:
    """Return the training times of the recipes that run against the clock."""
    columns = ("variant", "seed", "seconds", "date", "notes")
    timed = [row for row in TRAININGS if row["recipe"].startswith("cifar10-sprint") and row["seconds"]]
    body = [[f"`{row['recipe']}`", *(row[column] for column in columns)] for row in timed]
    return markdown("recipe|variant|>seed|>seconds|date|notes", body)


def held_out(study: str, first: str) -> str:
    """Return a study's settings: mean, deviation, and the difference from the setting `first`."""
    values: dict[str, list[float]] = {}
    for row in read("held_out"):
        if row["study"] == study and not row["setting"].startswith("teacher:"):
            values.setdefault(row["setting"], []).append(float(row["held_out_accuracy"]))
    body = [[f"**{first}**", f"**{mean(values[first]):.2f}**", spread(values[first]), "", ""]]
    for name, accuracies in values.items():
        if name != first:
            gaps = [one - base for one, base in zip(accuracies, values[first], strict=True)]
            each = ", ".join(f"{gap:+.2f}" for gap in gaps)
            body.append([name, f"{mean(accuracies):.2f}", spread(accuracies), f"{mean(gaps):+.2f}", each])
    return markdown("setting|>held-out accuracy, %|>deviation|>difference|seed 0, 1, 2", body)


def curve(recipe: str) -> str:
    """Return the test accuracy of every seed after some epochs."""
    rows = [row for row in read("epochs") if row["recipe"] == recipe]
    epochs = list(dict.fromkeys(row["epoch"] for row in rows))
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        name = f"seed {row['seed']}" + ("" if row["images"] == "test set" else ", augmented training images")
        lines.setdefault(name, {})[row["epoch"]] = row["accuracy"]
    runs = {f"seed {run['seed']}": run for run in trainings(recipe)}
    body = []
    for name in sorted(lines, key=lambda name: ("," in name, name)):
        run = runs.get(name)
        time = [f"{float(run['seconds']) / 60:.0f}", run["hardware"].split(",")[0]] if run else ["", ""]
        body.append([name, *(lines[name].get(epoch, "") for epoch in epochs), *time])
    values = numbers(runs.values(), "test_accuracy")
    last = f"**{mean(values):.2f}** ({spread(values)})"
    body.insert(len(values), ["mean (deviation)", *[""] * (len(epochs) - 1), last, "", ""])
    return markdown(f"accuracy, %, after epoch|{'|'.join('>' + each for each in epochs)}|>minutes|on", body)


def course(recipe: str) -> str:
    """Return the test accuracy beside that of the course's own log, epoch by epoch."""
    rows = [row for row in read("epochs") if row["recipe"] == recipe]
    seeds = sorted({row["seed"] for row in rows} - {"course"})
    cell = {(row["seed"], row["epoch"]): row["accuracy"] for row in rows}
    epochs = dict.fromkeys(row["epoch"] for row in rows)
    body = [
        [epoch, cell["course", epoch], *(f"**{cell[seed, epoch]}**" for seed in seeds)] for epoch in epochs
    ]
    return markdown(f">epoch|>course, %|{'|'.join(f'>seed {seed}, %' for seed in seeds)}", body)


def assignments() -> str:
    """Return the course's assignments: brief, recipe, its size, and the accuracy of its seeds."""
    body = []
    for number, names in ASSIGNMENTS.items():
        for name in names:
            recipe, runs = cs.load_recipe(name), trainings(name)
            values = numbers(runs, "test_accuracy")
            brief = ASSIGNMENT_BRIEFS[number]
            size = f"{parameters(name):,}"
            share = f"**{mean(values):.2f}**" if values else "not measured"
            limits = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""
            time = training_time(name) if runs else ""
            cells = [f"`{brief}`", f"`{name}`", size, str(recipe.train.epochs), share, limits]
            body.append([number, *cells, str(len(values)), time])
    head = "task|brief|recipe|>parameters|>epochs|>test accuracy, %|seeds from, to|>seeds|training"
    return markdown(head, body)


def last_epochs() -> str:
    """Return the test accuracy after each of the last four epochs of every seed of the assignments."""
    rows = [row for row in read("epochs") if row["images"] == "test set"]
    cells = {(row["recipe"], row["seed"], int(row["epoch"])): row["accuracy"] for row in rows}
    body = []
    for name in (name for group in ASSIGNMENTS.values() for name in group if name.startswith("course-")):
        for run in trainings(name):
            epochs = range(int(run["epochs"]) - LAST + 1, int(run["epochs"]) + 1)
            values = [cells.get((name, run["seed"], epoch), "") for epoch in epochs]
            body.append([f"`{name}`", run["seed"], *values, run["seconds"], run["hardware"]])
    numbered = "|".join(f">{LAST - index} before the last" for index in range(1, LAST))
    return markdown(f"test accuracy, %|>seed|{numbered}|>the last|>CPU seconds|hardware", body)


def mnist_small() -> str:
    rows = []
    for name, variant in MNIST_SMALL:
        runs = trainings(name, variant)
        label = f"`{name}`{', ' + variant if variant else ''}, {int(runs[0]['parameters']):,} parameters"
        rows.append((label, runs))
    return by_seed("test accuracy, %", rows, 3)


def search() -> str:
    names = {"start-50k": "starting point", "start-50k-s38": "trial 38"}
    held = {row["setting"]: row["held_out_accuracy"] for row in read("held_out") if row["study"] == "search"}
    values = {}
    for name in names:
        runs = trainings(f"results/search-50k/{name}.toml")
        values[name] = [float(held[name]), *numbers(runs, "test_accuracy")]
    body = [
        [names[name], *(f"{value:.2f}" for value in row), f"**{mean(row[1:]):.2f}**"]
        for name, row in values.items()
    ]
    gaps = [after - before for before, after in zip(*values.values(), strict=True)]
    body.append(["difference", *(f"{gap:+.2f}" for gap in gaps), f"**{mean(gaps[1:]):+.2f}**"])
    return markdown("accuracy, %|>held-out images, seed 0|>test set, seed 0|>seed 1|>seed 2|>mean", body)


def imbalance() -> str:
    """Return the remedies for imbalanced data, each with its seeds."""
    table, measured = [], read("imbalance")
    for variant in dict.fromkeys(row["variant"] for row in measured):
        rows = [row for row in measured if row["variant"] == variant]
        recalls = [[float(each) for each in row["recalls"].split()] for row in rows]
        largest, smallest = (
            mean(mean(each[part]) for each in recalls) for part in (slice(3), slice(-3, None))
        )
        scores = numbers(rows, "balanced_accuracy")
        score = f"{mean(scores):.2f} % ± {spread(scores)}"
        table.append([variant, score, f"{largest:.1f} %", f"{smallest:.1f} %"])
    return markdown(
        "remedy|>balanced accuracy, 3 seeds|>recall of the 3 largest classes|>of the 3 smallest", table
    )


def label_errors() -> str:
    """Return the flipped labels that were found, by epochs of each fold."""
    table = []
    for row in read("label_errors"):
        ranked = [f"{float(row[name]):.1f} %" for name in ("at_100", "at_500", "at_flips")]
        shares = [f"{float(row[name]):.1f} %" for name in ("precision", "recall")]
        counts = [f"{int(row[name]):,}" for name in ("listed", "found")]
        table.append([row["epochs"], f"{float(row['held_out_accuracy']):.2f} %", *counts, *shares, *ranked])
    head = "epochs|>held-out accuracy|>listed|>flips|>precision|>recall|>first 100|>first 500|>first 1,200"
    return markdown(head, table)


def plain_loop() -> str:
    variants = ("plain loop, fp32, 10 epochs", "convsmith, bf16, 10 epochs")
    return by_seed("test accuracy, %", [(name, trainings("cifar10-classic", name)) for name in variants], 3)


def public() -> str:
    """Return the public results, as their authors state them."""
    body = []
    for source, results in tomllib.loads((DOCS / "anchors.toml").read_text(encoding="utf-8")).items():
        for each in results:
            link = f"[{each['source'].removeprefix('https://github.com/')}]({each['source']})"
            size, share = f"{each['parameters']:,}", f"{each['accuracy']:.2f}"
            body.append([TITLES[source], each["name"], size, share, each["selection"], link])
    return markdown("data|net|>parameters|>test accuracy, %|epoch|source", body)


def zoo() -> str:
    """Return the nets that come with convsmith, with what their bundles state."""
    body = []
    for folder in sorted((ROOT / "src/convsmith/library/zoo").iterdir()):
        bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        parameters = int(trainings(folder.name)[0]["parameters"])
        share = 100 * bundle["measured"]["correct"] / bundle["measured"]["total"]
        size = (folder / "model.safetensors").stat().st_size / 1000
        link = f"[`{folder.name}`](../src/convsmith/library/zoo/{folder.name}/README.md)"
        title = bundle["origin"]["data_title"]
        body.append([link, title, f"{parameters:,}", f"{size:.0f} kB", f"{share:.2f} %"])
    return markdown("name|classes of|>parameters|>size|>test accuracy of these weights", body)


def parity() -> str:
    """Return how far ONNX, in fp32 and in int8, differs from PyTorch."""
    columns = ("largest_logit_difference", "same_class_percent")
    cells: dict[str, list[str]] = {}
    for row in read("parity"):
        cells.setdefault(row["net"], []).extend(row[column] for column in columns)
    head = "net|>fp32: largest logit difference|>same class, %|>int8: largest logit difference|>same class, %"
    return markdown(head, [[f"`{net}`", *each] for net, each in cells.items()])


def latency() -> str:
    body = []
    for row in read("latency"):
        times = [
            f"{row[f'{kind}_ms']} ({row[f'{kind}_low_ms']} to {row[f'{kind}_high_ms']})"
            for kind in ("one", "batch")
        ]
        body.append([f"`{row['net']}`", row["form"], row["accuracy"], row["kib"], *times])
    return markdown("net|form|>accuracy, %|>KiB|>1 image, ms|>256 images, ms", body)


MNIST_SMALL = (("mnist-5k", ""), ("mnist-10k", "no teacher"), ("mnist-10k", ""), ("mnist-42k", ""))
# Task of the course -> recipes. The other recipes of A7 are in the table of all recipes.
ASSIGNMENTS = {
    "A1": ("course-a1-mnist-18k",),
    "A2": ("course-a2-mnist-20k",),
    "A3": ("course-a3-mnist-25k",),
    "A4": tuple(f"course-a4-mnist-8k-step{step}" for step in (1, 2, 3)),
    "A5": tuple(f"course-a5-mnist-norms-{norm}" for norm in ("batch", "group", "layer")),
    "A6": tuple(f"course-a6-cifar10-norms-{norm}" for norm in ("batch", "group", "layer")),
    "A7": ("cifar10-classic",),
    "A8": ("course-a8-cifar10-resnet18",),
    "A9": ("course-a9-cifar10-one-cycle",),
}
ASSIGNMENT_BRIEFS = {
    "A1": "course-a1-mnist-18k",
    "A2": "course-a2-mnist-20k",
    "A3": "course-a3-mnist-25k",
    "A4": "course-a4-mnist-8k",
    "A5": "course-a5-mnist-norms",
    "A6": "course-a6-cifar10-norms",
    "A7": "course-a7-cifar10-200k",
    "A8": "course-a8-cifar10-resnet18",
    "A9": "course-a9-cifar10-one-cycle",
}
# Epochs at the end that the table of the assignments shows.
LAST = 4
CURVES = ("cifar10-31k", "cifar10-50k", "cifar10-100k", "cifar10-200k")
COURSE = ("mnist-classic", "cifar10-classic", "cifar10-rmsprop")
SPRINTS = ("cifar10-sprint-30s", "cifar10-sprint", "cifar10-sprint-120s", "cifar10-sprint-300s")
TABLES: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "digits": lambda: by_seed("test accuracy, %", [("`digits`", trainings("digits"))], 5),
    "sprint": lambda: sprint(dict.fromkeys(SPRINTS, "")),
    "sprint-first-machine": lambda: sprint(dict.fromkeys(SPRINTS[:2], "first machine")),
    "sprint-times": sprint_times,
    "ablation": lambda: held_out("ablation", "the recipe"),
    "lookahead": lambda: held_out("lookahead", "the recipe"),
    "teachers": lambda: held_out("teachers", "none"),
    "mnist-small": mnist_small,
    **{f"curve-{name}": lambda name=name: curve(name) for name in CURVES},
    **{f"course-{name}": lambda name=name: course(name) for name in COURSE},
    "assignments": assignments,
    "last-epochs": last_epochs,
    "search": search,
    "imbalance": imbalance,
    "label-errors": label_errors,
    "plain-loop": plain_loop,
    "public": public,
    "zoo": zoo,
    "parity": parity,
    "latency": latency,
}


def updated(text: str) -> str:
    """Return a page with every region rewritten."""
    return REGION.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def outdated_recipes() -> list[str]:
    """Return the recipes whose `result` states another accuracy than the mean of the measured seeds.

    That of a recipe without a measured seed begins with "not measured".
    """
    outdated = []
    for recipe in cs.list_recipes():
        measured = f"{accuracy(recipe.name):.2f} %" if trainings(recipe.name) else "not measured"
        if not recipe.result.startswith(measured):
            outdated.append(recipe.name)
    return outdated


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [f"recipe {name}: `result` differs from results/trainings.csv" for name in outdated_recipes()]
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = updated(before)
        if after != before and check:
            stale.append(f"{page.name}: a table is out of date; run python docs/tables.py")
        elif after != before:
            page.write_text(after, encoding="utf-8")
    print("\n".join(stale))
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
