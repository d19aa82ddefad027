"""Compare runs by the files in their folders, without inference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from convsmith.data.dataset import ImageDataset
from convsmith.data.dataset import load as load_data
from convsmith.errors import DataError, RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.comparison import (
    Difference,
    McNemarTest,
    Spread,
    differences,
    group_by_recipe,
    group_equal,
    mcnemar_test,
    spread,
    spread_of_all,
)
from convsmith.evaluation.field_effects import FieldEffects
from convsmith.evaluation.metrics import Metrics, compute_metrics
from convsmith.evaluation.predictions import Predictions
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.architecture import Architecture
from convsmith.net.analysis import Analysis
from convsmith.recipes.schema import Recipe
from convsmith.reports.compare_page import (
    ComparisonData,
    GroupRow,
    PairRow,
    RunRow,
    TestSetRow,
    html,
    markdown,
)
from convsmith.reports.sheets import Pixels, sheet
from convsmith.reports.style import short
from convsmith.runs.code import architecture_of_run
from convsmith.runs.evaluation import read_confidence
from convsmith.runs.folder import EVALUATION, RunFolder
from convsmith.runs.schema import DataRecord, WeightsRecord
from convsmith.system import files

# Pairs on the page, pairs with example images, and images per side.
MOST_PAIRS, PAIRS_SHOWN, EXAMPLES = 45, 6, 8
# Pairs that are tested: those of a thousand runs would take minutes.
MOST_TESTS = 2_000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The written pages, and their content as plain tables."""

    page: Path
    markdown: Path
    record: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Run:
    folder: RunFolder
    name: str
    recipe: Recipe
    architecture: Architecture
    analysis: Analysis
    data: DataRecord
    predictions: Predictions
    metrics: Metrics
    weights: WeightsRecord | None

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe as a table, with the hashes of a module's code and of weights from a file."""
        table = {**self.recipe.table(), "model": self.architecture.identity()}
        if self.weights is None:
            return table
        del table["train"]
        return {**table, "weights": {"file": self.weights.file, "sha256": self.weights.sha256}}

    @property
    def test_set(self) -> tuple[str, tuple[str, ...]]:
        """What identifies the test set: pixels, labels, and the names of the labels."""
        return self.data.splits["test"].fingerprint, self.data.class_names

    @property
    def identity(self) -> tuple[str, ...]:
        """What identifies the images of all splits, and the names of the labels."""
        return *(split.fingerprint for split in self.data.splits.values()), *self.data.class_names


def compare(
    runs: Sequence[Path],
    out: Path,
    access: CodeAccess = NO_CODE,
    *,
    names: Sequence[str] = (),
    effects: FieldEffects | None = None,
) -> Comparison:
    """Compare runs, and write compare.html, compare.md and compare.json.

    Args:
        runs: Folders of at least two evaluated runs.
        out: Folder for the pages, created if missing.
        access: Whether code in the run folders may be run.
        names: Of the groups that the runs belong to, one for each run; by default those of recipes.
        effects: Of the fields of a grid, which then have a section.

    Raises:
        UntrustedCodeError: The net of a run is a module, and its code may not be run.
        RunError: A run is missing, damaged or not evaluated, or there are fewer than two.
    """
    if len(runs) < 2:
        raise RunError("found one run, expected at least two", where="runs", fix="convsmith compare runs/*")
    loaded_runs = _named([_open(path, access) for path in runs])
    grouped = group_by_recipe([run.settings for run in loaded_runs], [run.identity for run in loaded_runs])
    labels = tuple(names[places[0]] for places in grouped) if names else _labels(loaded_runs, grouped)
    tests, incomparable, untested = _pair_tests(loaded_runs, grouped)
    sheets, pairs = _examples(loaded_runs, tests)
    data = ComparisonData(
        runs=tuple(_row(run, _group_of(place, grouped)) for place, run in enumerate(loaded_runs)),
        groups=tuple(
            _group(label, [loaded_runs[place] for place in places])
            for label, places in zip(labels, grouped, strict=True)
        ),
        test_sets=_test_sets(loaded_runs, grouped),
        differences=_differences([loaded_runs[places[0]] for places in grouped]),
        difference_labels=labels,
        pairs=pairs[:MOST_PAIRS],
        pairs_left_out=max(len(pairs) - MOST_PAIRS, 0) + untested,
        not_comparable=incomparable,
        examples=sheet(sheets) if sheets else None,
        effects=effects,
    )
    files.make_folder(out)
    record = _record(data, pairs)
    files.write_json(out / "compare.json", record)
    files.write_text(out / "compare.md", markdown(data))
    files.write_text(out / "compare.html", html(data))
    return Comparison(page=out / "compare.html", markdown=out / "compare.md", record=record)


def _open(path: Path, access: CodeAccess) -> _Run:
    folder = RunFolder.open(path)
    recipe = folder.recipe()
    folder.verify(*EVALUATION)
    data = folder.read(DataRecord)
    architecture = architecture_of_run(folder, recipe, access)
    names = data.class_names
    test = predictions.read(folder.predictions)
    if test.num_classes != len(names):
        raise RunError(
            f"found {test.num_classes} logits an image, expected {len(names)}",
            where=str(folder.predictions),
            fix=predictions.EVALUATE_AGAIN,
        )
    return _Run(
        folder=folder,
        name=path.resolve().name,
        recipe=recipe,
        architecture=architecture,
        analysis=architecture.analyze(data.image_shape),
        data=data,
        predictions=test,
        metrics=compute_metrics(
            test,
            names,
            read_confidence(folder),
            config=recipe.train,
            train_counts=data.splits["train"].per_class,
        ),
        weights=folder.find(WeightsRecord),
    )


def _named(runs: list[_Run]) -> list[_Run]:
    """Rename runs with equal folder names so that their names are unique."""
    names = [run.name for run in runs]
    if len({run.folder.path.resolve() for run in runs}) < len(runs):
        raise RunError("a run is listed twice", where="runs", fix="list each folder once")
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
    """Name a group after its recipe, or after its first run if several groups have that name."""
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
        data=run.data.title,
        parameters=run.analysis.parameters,
        macs=run.analysis.macs,
        receptive_field=run.analysis.receptive_field,
        balanced_accuracy=run.metrics.balanced_accuracy,
        macro_f1=run.metrics.macro_f1,
        is_imbalanced=run.metrics.is_imbalanced,
        accuracy=run.metrics.accuracy,
        interval=run.metrics.interval,
        ece=run.metrics.calibration.ece,
        seconds=_seconds(run),
        epochs=len(metrics),
        weights=run.weights.title if run.weights else "",
        metrics=metrics,
    )


def _seconds(run: _Run) -> float | None:
    """Return the duration of the training; None for weights that were trained elsewhere."""
    return None if run.weights else sum(row.seconds for row in run.folder.metrics())


def _group(label: str, runs: list[_Run]) -> GroupRow:
    return GroupRow(
        label=label,
        runs=tuple(run.name for run in runs),
        balanced_accuracy=spread_of_all([run.metrics.balanced_accuracy for run in runs]),
        macro_f1=spread_of_all([run.metrics.macro_f1 for run in runs]),
        accuracy=spread([run.metrics.accuracy for run in runs]),
        ece=spread([run.metrics.calibration.ece for run in runs]),
        seconds=_spread_seconds(runs),
    )


def _spread_seconds(runs: list[_Run]) -> Spread | None:
    seconds = [each for run in runs if (each := _seconds(run)) is not None]
    return spread(seconds) if seconds else None


def _test_sets(runs: list[_Run], grouped: list[list[int]]) -> tuple[TestSetRow, ...]:
    """Describe the test sets, with the groups of runs that were evaluated on each."""
    of_groups = [runs[places[0]] for places in grouped]
    return tuple(
        TestSetRow(
            title=of_groups[numbers[0]].data.title,
            fingerprint=of_groups[numbers[0]].test_set[0],
            images=of_groups[numbers[0]].data.splits["test"].images,
            classes=len(of_groups[numbers[0]].data.class_names),
            groups=tuple(numbers),
            fold=_fold(of_groups[numbers[0]].data),
        )
        for numbers in group_equal([run.test_set for run in of_groups])
    )


def _fold(data: DataRecord) -> str:
    return "" if data.fold is None else data.evaluation_set.name


def _differences(runs: list[_Run]) -> tuple[Difference, ...]:
    """Return what differs between the first runs of all groups: their recipes, images and classes."""
    images = tuple(
        "; ".join(
            f"{name} {split.images:,} ({split.fingerprint[:8]})" for name, split in run.data.splits.items()
        )
        for run in runs
    )
    names = tuple(list(run.data.class_names) for run in runs)
    content = differences([{"images": one, "classes": each} for one, each in zip(images, names, strict=True)])
    recipes = differences([run.settings for run in runs])
    return *content, *(each for each in recipes if each.field != "seed")


def _pair_tests(
    runs: list[_Run], grouped: list[list[int]]
) -> tuple[list[McNemarTest], tuple[tuple[str, str], ...], int]:
    """Test each pair of runs with equal test sets, up to a limit.

    Returns:
        The tests, the names of pairs with different test sets, and the number of pairs beyond the limit.

    Pairs of different recipes with the same seed come first, then with different seeds. Pairs of one recipe,
    which differ by chance alone, come last.
    """
    outputs = [run.predictions for run in runs]
    tests, others = [], []

    def rank(pair: tuple[int, int]) -> tuple[bool, bool]:
        first, second = pair
        same_recipe = _group_of(first, grouped) == _group_of(second, grouped)
        return same_recipe, runs[first].recipe.seed != runs[second].recipe.seed

    pairs = sorted(combinations(range(len(runs)), 2), key=rank)
    for first, second in pairs[:MOST_TESTS]:
        equal = runs[first].test_set == runs[second].test_set
        test = mcnemar_test(first, second, outputs) if equal else None
        if test is None:
            others.append((runs[first].name, runs[second].name))
        else:
            tests.append(test)
    return tests, tuple(others), max(len(pairs) - MOST_TESTS, 0)


def _examples(runs: list[_Run], tests: list[McNemarTest]) -> tuple[list[Pixels], tuple[PairRow, ...]]:
    """Return all pairs, the first ones with images that only one run classifies correctly."""
    images: list[Pixels] = []
    rows = []
    loaded: dict[int, ImageDataset | None] = {}
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
                        (len(images) + offset, _caption(data, runs[wrong].predictions, int(place)))
                        for offset, place in enumerate(places[:EXAMPLES])
                    )
                    images += [data.test.images[place] for place in places[:EXAMPLES]]
        rows.append(_pair_row(runs, test, strips))
    return images, tuple(rows)


def _pair_row(runs: list[_Run], test: McNemarTest, strips: list[tuple[tuple[int, str], ...]]) -> PairRow:
    return PairRow(
        first=runs[test.first].name,
        second=runs[test.second].name,
        only_first=len(test.only_first),
        only_second=len(test.only_second),
        p_value=test.p_value,
        examples_first=strips[0],
        examples_second=strips[1],
    )


def _caption(data: ImageDataset, wrong: Predictions, place: int) -> str:
    names = data.class_names
    return f"{short(names[wrong.labels[place]])}, not {short(names[wrong.predicted[place]])}"


def _data(run: _Run) -> ImageDataset | None:
    """Load the data of a run; None if it is unavailable or has changed."""
    try:
        data = load_data(run.recipe.data)
    except DataError:
        return None
    same = data.fingerprint == run.data.fingerprint and len(data.test) == len(run.predictions)
    return data if same else None


def _record(data: ComparisonData, pairs: tuple[PairRow, ...]) -> dict[str, Any]:
    runs = [{**asdict(run), "interval": [run.interval.low, run.interval.high]} for run in data.runs]
    for run in runs:
        del run["metrics"]
        run["accuracy_95"] = run.pop("interval")
    return {
        "runs": runs,
        "imbalanced": data.is_imbalanced,
        "groups": [asdict(group) for group in data.groups],
        "comparable": data.is_comparable,
        "test_sets": [asdict(each) for each in data.test_sets],
        "differences": [
            {
                "field": each.field,
                "values": dict(zip(data.difference_labels, each.values, strict=True)),
            }
            for each in data.differences
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
        "not_comparable": [list(names) for names in data.not_comparable],
        **({"effects": asdict(data.effects)} if data.effects else {}),
    }
