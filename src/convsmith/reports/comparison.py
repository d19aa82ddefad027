"""Runs beside each other, from what their folders hold; no net is run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from convsmith.data.dataset import ImageData
from convsmith.data.dataset import load as load_data
from convsmith.errors import DataError, RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.comparison import PairTest, differences, groups, pair_test, spread
from convsmith.evaluation.metrics import Metrics, facts_of
from convsmith.evaluation.predictions import Predictions
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.recipes.loader import load as load_recipe
from convsmith.recipes.schema import Recipe
from convsmith.reports.compare_page import ComparisonData, GroupRow, PairRow, RunRow, html, markdown
from convsmith.reports.sheets import Pixels, sheet
from convsmith.reports.style import short
from convsmith.runs.folder import RunFolder, epoch_seconds
from convsmith.system import files

# Pairs that the page lists, pairs of them with images, and images of each side.
MOST_PAIRS, PAIRS_SHOWN, EXAMPLES = 45, 6, 8


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The pages that were written, and what they say as plain tables."""

    page: Path
    markdown: Path
    record: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Run:
    folder: RunFolder
    name: str
    recipe: Recipe
    analysis: SpecAnalysis
    data: dict[str, Any]
    found: Predictions
    facts: Metrics


def compare(runs: Sequence[Path], out: Path) -> Comparison:
    """Compare runs, and write compare.html, compare.md and compare.json.

    Args:
        runs: At least two folders of runs that were evaluated.
        out: The folder for the pages, made where it is missing.

    Raises:
        RunError: A run is missing, damaged or was not evaluated, or there are fewer than two.
    """
    if len(runs) < 2:
        raise RunError("found one run, expected at least two", where="runs", fix="convsmith compare runs/*")
    opened = _named([_open(path) for path in runs])
    grouped = groups([run.recipe.table() for run in opened])
    labels = _labels(opened, grouped)
    tests, incomparable = _pair_tests(opened, grouped)
    sheets, pairs = _examples(opened, tests)
    first_of_group = [opened[places[0]].recipe.table() for places in grouped]
    facts = ComparisonData(
        runs=tuple(_row(run, _group_of(place, grouped)) for place, run in enumerate(opened)),
        groups=tuple(
            _group(label, [opened[place] for place in places])
            for label, places in zip(labels, grouped, strict=True)
        ),
        differences=tuple(each for each in differences(first_of_group) if each.field != "seed"),
        difference_labels=labels,
        pairs=pairs[:MOST_PAIRS],
        pairs_left_out=max(len(pairs) - MOST_PAIRS, 0),
        not_comparable=incomparable,
        examples=sheet(sheets) if sheets else None,
    )
    files.make_folder(out)
    record = _record(facts, pairs)
    files.write_json(out / "compare.json", record)
    files.write_text(out / "compare.md", markdown(facts))
    files.write_text(out / "compare.html", html(facts))
    return Comparison(page=out / "compare.html", markdown=out / "compare.md", record=record)


def _open(path: Path) -> _Run:
    folder = RunFolder.open(path)
    recipe = load_recipe(str(path / "recipe.toml"))
    data = folder.data_record()
    try:
        names = tuple(map(str, data["class_names"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"damaged: {error}", where=str(path / "data.json")) from error
    found = predictions.read(folder.predictions)
    if found.num_classes != len(names):
        raise RunError(
            f"found {found.num_classes} logits an image, expected {len(names)}",
            where=str(folder.predictions),
            fix=predictions.REMEDY,
        )
    return _Run(
        folder=folder,
        name=path.resolve().name,
        recipe=recipe,
        analysis=analyze_notation(recipe.model.net, folder.image_shape(), recipe.model),
        data=data,
        found=found,
        facts=facts_of(found, names),
    )


def _named(runs: list[_Run]) -> list[_Run]:
    """Runs of one name in several folders are told apart by their path."""
    names = [run.name for run in runs]
    if len({run.folder.path.resolve() for run in runs}) < len(runs):
        raise RunError("a run is named twice", where="runs", fix="name each folder once")
    return [
        run
        if names.count(run.name) == 1
        else _Run(**{**_fields(run), "name": f"{run.folder.path.resolve().parent.name}/{run.name}"})
        for run in runs
    ]


def _fields(run: _Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


def _group_of(place: int, grouped: list[list[int]]) -> int:
    return next(number for number, places in enumerate(grouped) if place in places)


def _labels(runs: list[_Run], grouped: list[list[int]]) -> tuple[str, ...]:
    """A group is called after its recipe, or after its first run where several groups bear that name."""
    names = [runs[places[0]].recipe.name for places in grouped]
    return tuple(
        name if names.count(name) == 1 else runs[places[0]].name
        for name, places in zip(names, grouped, strict=True)
    )


def _row(run: _Run, group: int) -> RunRow:
    metrics = run.folder.metrics()
    return RunRow(
        name=run.name,
        recipe=run.recipe.name,
        seed=run.recipe.seed,
        group=group,
        data=str(run.data.get("title", "")),
        parameters=run.analysis.parameters,
        macs=run.analysis.macs,
        receptive_field=run.analysis.receptive_field,
        accuracy=run.facts.accuracy,
        interval=run.facts.interval,
        ece=run.facts.calibration.ece,
        seconds=_seconds(run),
        epochs=len(metrics),
        metrics=metrics,
    )


def _seconds(run: _Run) -> float:
    return sum(map(epoch_seconds, run.folder.metrics()))


def _group(label: str, runs: list[_Run]) -> GroupRow:
    return GroupRow(
        label=label,
        runs=tuple(run.name for run in runs),
        accuracy=spread([run.facts.accuracy for run in runs]),
        ece=spread([run.facts.calibration.ece for run in runs]),
        seconds=spread([_seconds(run) for run in runs]),
    )


def _pair_tests(
    runs: list[_Run], grouped: list[list[int]]
) -> tuple[list[PairTest], tuple[tuple[str, str], ...]]:
    """The test of every pair on the same images, and the names of the other pairs.

    What people ask comes first: one recipe against another with the same seed, then with other seeds. Seeds
    of one recipe, which differ by chance alone, come last.
    """
    found = [run.found for run in runs]
    tests, others = [], []

    def rank(pair: tuple[int, int]) -> tuple[bool, bool]:
        first, second = pair
        same_recipe = _group_of(first, grouped) == _group_of(second, grouped)
        return same_recipe, runs[first].recipe.seed != runs[second].recipe.seed

    for first, second in sorted(combinations(range(len(runs)), 2), key=rank):
        test = pair_test(first, second, found)
        if test is None:
            others.append((runs[first].name, runs[second].name))
        else:
            tests.append(test)
    return tests, tuple(others)


def _examples(runs: list[_Run], tests: list[PairTest]) -> tuple[list[Pixels], tuple[PairRow, ...]]:
    """All pairs, the first of them with images that one alone gets right; images need the data set."""
    images: list[Pixels] = []
    rows = []
    loaded: dict[int, ImageData | None] = {}
    shape = None
    for number, test in enumerate(tests):
        strips: list[tuple[tuple[int, str], ...]] = [(), ()]
        if number < PAIRS_SHOWN:
            data = loaded.setdefault(test.first, _data(runs[test.first]))
            shape = shape or (data.test.images.shape[1:] if data else None)
            if data and data.test.images.shape[1:] == shape:
                sides = ((test.only_first, test.second), (test.only_second, test.first))
                for side, (places, wrong) in enumerate(sides):
                    strips[side] = tuple(
                        (len(images) + offset, _said(data, runs[wrong].found, int(place)))
                        for offset, place in enumerate(places[:EXAMPLES])
                    )
                    images += [data.test.images[place] for place in places[:EXAMPLES]]
        rows.append(_pair_row(runs, test, strips))
    return images, tuple(rows)


def _pair_row(runs: list[_Run], test: PairTest, strips: list[tuple[tuple[int, str], ...]]) -> PairRow:
    return PairRow(
        first=runs[test.first].name,
        second=runs[test.second].name,
        only_first=len(test.only_first),
        only_second=len(test.only_second),
        p_value=test.p_value,
        examples_first=strips[0],
        examples_second=strips[1],
    )


def _said(data: ImageData, wrong: Predictions, place: int) -> str:
    names = data.class_names
    return f"{short(names[wrong.labels[place]])}, not {short(names[wrong.predicted[place]])}"


def _data(run: _Run) -> ImageData | None:
    """A run's data where it still is what it was; the tables need none of it."""
    try:
        data = load_data(run.recipe.data)
    except DataError:
        return None
    same = data.fingerprint == run.data.get("fingerprint") and len(data.test) == len(run.found)
    return data if same else None


def _record(facts: ComparisonData, pairs: tuple[PairRow, ...]) -> dict[str, Any]:
    runs = [{**asdict(run), "interval": [run.interval.low, run.interval.high]} for run in facts.runs]
    for run in runs:
        del run["metrics"]
        run["accuracy_95"] = run.pop("interval")
    return {
        "runs": runs,
        "groups": [asdict(group) for group in facts.groups],
        "differences": [
            {
                "field": each.field,
                "values": dict(zip(facts.difference_labels, each.values, strict=True)),
            }
            for each in facts.differences
        ],
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "only_first_right": pair.only_first,
                "only_second_right": pair.only_second,
                "mcnemar_p": pair.p_value,
            }
            for pair in pairs
        ],
        "not_comparable": [list(names) for names in facts.not_comparable],
    }
