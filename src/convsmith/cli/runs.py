"""Commands for training and runs: train, resume, folds, watch, evaluate, report, lr-find, compare, search."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import convsmith as cs
from convsmith.cli.arguments import (
    AsJson,
    Data,
    Module,
    On,
    Overrides,
    Processes,
    RecipeArgument,
    Refresh,
    RunArgument,
    RunOrNet,
    Runs,
    Storage,
    TensorBoard,
    TrustCode,
    Weights,
    WithWeights,
    Workers,
    with_module,
)
from convsmith.cli.output import print_error, print_text
from convsmith.system.torchrun import is_started_by_torchrun
from convsmith.text import in_line, percent, plural

if TYPE_CHECKING:
    from convsmith.recipes.schema import Recipe
    from convsmith.reports.report import Result


def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    module: Module = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="folder for the run folder")] = Path("runs"),
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Skip unusable images; the run lists them.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show the time of each phase.")] = False,
    tensorboard: TensorBoard = False,
    refresh: Refresh = False,
    trust_code: TrustCode = False,
    processes: Processes = None,
) -> None:
    """Train a recipe and write a run folder with weights, log, metrics, plots and report."""
    values = [*with_module(overrides, module), *(["data.skip_damaged=true"] if skip_damaged else [])]
    loaded = cs.load_recipe(recipe, *values)
    _start_processes(processes, loaded)
    from convsmith.cli.console import progress_callback
    from convsmith.training.profiler import Profile

    profiler = Profile(enabled=True) if profile else None
    with closing(progress_callback()) as callback:
        result = cs.train(
            loaded,
            runs=runs,
            callbacks=(callback,),
            profile=profiler,
            tensorboard=tensorboard,
            refresh=refresh,
            trust_code=trust_code,
        )
    if profiler:
        print_text(f"{profiler.table()}\n")
    _print_result(result)


def resume(
    run: RunArgument,
    *,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Total number of epochs; extends a finished run.")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Resume although recipe, data or machine differ.")
    ] = False,
    tensorboard: TensorBoard = False,
    trust_code: TrustCode = False,
    processes: Processes = None,
) -> None:
    """Resume an interrupted run, or train a finished run for more epochs."""
    # A folder that is no run is an error of `cs.resume`.
    if processes is not None and (recipe := run / "recipe.toml").is_file():
        _start_processes(processes, cs.load_recipe(str(recipe)))
    from convsmith.cli.console import progress_callback

    with closing(progress_callback()) as callback:
        result = cs.resume(
            run,
            epochs=epochs,
            accept_changes=accept_changes,
            callbacks=(callback,),
            tensorboard=tensorboard,
            trust_code=trust_code,
        )
    _print_result(result)


def folds(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    count: Annotated[int, typer.Option("--folds", metavar="K", help="number of folds")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="folder of the folds, by default runs/RECIPE-folds; folds that it has are not trained again",
        ),
    ] = None,
    module: Module = None,
    on: On = None,
    workers: Workers = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Resume an interrupted fold although the machine differs."),
    ] = False,
    refresh: Refresh = False,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Train a recipe once for each fold of its training set; find label errors."""
    from convsmith.cli.console import progress_callback

    loaded = cs.load_recipe(recipe, *with_module(overrides, module))
    with closing(progress_callback()) as callback:
        result = cs.folds(
            loaded,
            count=count,
            out=out,
            on=on,
            workers=workers,
            callbacks=() if as_json else (callback,),
            log=print_error if as_json else print_text,
            accept_changes=accept_changes,
            refresh=refresh,
            trust_code=trust_code,
        )
    if as_json:
        print_text(json.dumps(result.results.model_dump(mode="json"), indent=2))
        return
    for line in ["", *result.lines(), ""]:
        print_text(line)
    print_text(f"Predictions: {result.folder / 'predictions.csv'}")
    print_text(f"Report: {result.page}")


def _start_processes(processes: int | None, recipe: "Recipe") -> None:
    """Run this command in several processes and exit, unless it runs in one of them."""
    if processes is None or processes == 1:
        return
    from convsmith.training.launch import launch
    from convsmith.training.shares import check_processes

    if not is_started_by_torchrun():
        check_processes(recipe.train, processes)
        raise typer.Exit(launch(sys.argv[1:], processes))


def watch(
    run: RunArgument,
    *,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=86_400, help="interval between updates")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the current progress and exit.")] = False,
) -> None:
    """Show the progress of a run in another process until it is finished."""
    from convsmith.cli.progress import watch as show_progress

    show_progress(lambda: cs.progress(run), every=every, once=once)


def evaluate(
    run: RunOrNet,
    overrides: WithWeights = None,
    *,
    weights: Weights = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also evaluate corrupted images: 6 corruptions, 5 strengths."),
    ] = False,
    duplicates: Annotated[
        bool,
        typer.Option("--duplicates", help="Also list near-duplicates of test images in the training set."),
    ] = False,
    label_errors: Annotated[
        bool, typer.Option("--label-errors", help="Also list test labels that are probably wrong.")
    ] = False,
    refresh: Refresh = False,
    on: On = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all results as JSON.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Evaluate a run, or weights from a file, on training and test images; write plots and report."""
    result = cs.evaluate(
        run,
        *(overrides or []),
        weights=weights,
        data=data,
        runs=runs,
        robustness=robustness,
        duplicates=duplicates,
        label_errors=label_errors,
        refresh=refresh,
        on=on,
        workers=workers,
        trust_code=trust_code,
    )
    if as_json:
        print_text(json.dumps(cs.results(result.folder), indent=2))
        return
    _print_notes(result)
    _print_result(result)
    kind = result.metrics.evaluated.kind
    for analysis in (result.robustness, result.duplicates, result.label_errors):
        if analysis is not None:
            print_text("\n" + "\n".join(analysis.lines(kind)))


def report(
    run: RunOrNet,
    overrides: WithWeights = None,
    *,
    weights: Weights = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    trust_code: TrustCode = False,
) -> None:
    """Rewrite the report of a run from its saved predictions, or make that of weights from a file."""
    result = cs.report(run, *(overrides or []), weights=weights, data=data, runs=runs, trust_code=trust_code)
    if weights:
        _print_notes(result)
    print_text(f"Report: {result.page}")
    print_text(f"For a repository: {result.report}")


def lr_find(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    module: Module = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for plot and table")] = Path("lr-find"),
    steps: Annotated[int, typer.Option(help="number of steps")] = 200,
    refresh: Refresh = False,
    trust_code: TrustCode = False,
) -> None:
    """Run a learning-rate range test, with a plot and a suggested learning rate."""
    loaded = cs.load_recipe(recipe, *with_module(overrides, module))
    test = cs.lr_find(loaded, out, steps=steps, refresh=refresh, trust_code=trust_code)
    print_text(f"Recipe: {loaded.train.optimizer.lr:g}")
    if test.suggestion is None:
        print_text("Suggestion: none; the loss never falls")
    else:
        print_text(f"Suggestion: train.optimizer.lr={test.suggestion:.2g} (the loss falls most steeply)")
    broke = "the training broke soon after" if test.diverged else "it did not break"
    print_text(f"Least loss at {test.best:.2g}; {broke}")
    print_text(f"Plot: {out / 'lr-find.png'}")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders that `convsmith train` made")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the pages")] = Path("comparison"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Compare runs: table, groups of seeds, differing fields, curves and significance tests."""
    comparison = cs.compare(runs, out, trust_code=trust_code)
    if as_json:
        print_text(json.dumps(comparison.record, indent=2))
        return
    from convsmith.reports.compare_page import format_p

    record = comparison.record
    if not record["comparable"]:
        count = len(record["test_sets"])
        print_text(f"These runs have {count} different test sets, whose accuracies cannot be compared")
    for number, test_set in enumerate(record["test_sets"], start=1):
        if not record["comparable"]:
            images, classes = plural(test_set["images"], "image"), plural(test_set["classes"], "class")
            print_text(f"\nTest set {number}: {test_set['title']}, {images}, {classes}")
        for group in (record["groups"][place] for place in test_set["groups"]):
            print_text(_group_line(group, imbalanced=record["imbalanced"]))
    if not record["comparable"]:
        print_text("")
    for pair in comparison.record["pairs"]:
        counts = f"{pair['only_first_right']} : {pair['only_second_right']}"
        first, second = in_line(pair["first"]), in_line(pair["second"])
        print_text(f"{first} against {second}: {counts}, p {format_p(pair['mcnemar_p'])}")
    print_text(f"Page: {comparison.page}")
    print_text(f"Markdown: {comparison.markdown}")


def search(
    brief: Annotated[str, typer.Argument(metavar="BRIEF", help="name of a brief, or a TOML file")],
    *,
    recipe: Annotated[str, typer.Option("--recipe", metavar="RECIPE", help="the starting point, as trial 0")],
    trials: Annotated[int | None, typer.Option(metavar="N", help="total number of trials")] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="time limit; 60 without --trials and --minutes")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="epochs of a full training")] = 5,
    study: Annotated[
        Path, typer.Option(metavar="DIR", help="folder of the search; an existing search continues")
    ] = Path("study"),
    seed: Annotated[int, typer.Option(help="seed of the search")] = 0,
    factor: Annotated[int, typer.Option(metavar="N", help="keep 1/N of the trials at each rung")] = 3,
    macs_factor: Annotated[
        float, typer.Option(metavar="X", help="limit of the MACs, as a multiple of the starting point's")
    ] = 1.5,
    storage: Storage = None,
    on: On = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Search for better networks under a brief; write a report and recipes."""
    result = cs.search(
        brief,
        cs.load_recipe(recipe),
        trials=trials,
        minutes=minutes,
        epochs=epochs,
        study=study,
        seed=seed,
        factor=factor,
        macs_factor=macs_factor,
        storage=storage,
        on=on,
        workers=workers,
        log=print_error if as_json else print_text,
    )
    from convsmith.nas.results import record, table

    if as_json:
        print_text(json.dumps(record(result.data), indent=2))
        return
    for line in ["", *table(result.data), "", *(command for _, command in result.data.commands)]:
        print_text(line)
    print_text(f"Report: {result.page}")


def _group_line(group: dict[str, Any], *, imbalanced: bool) -> str:
    """Format the accuracy of the runs of a recipe; of imbalanced data the balanced accuracy, if defined."""
    balanced = group["balanced_accuracy"] if imbalanced else None
    accuracy = balanced or group["accuracy"]
    name = " balanced" if balanced else ""
    spread = "" if accuracy["deviation"] is None else f", deviation {accuracy['deviation']:.2%}"
    runs = plural(accuracy["count"], "run")
    return f"{group['label']:<24} {runs:<8} {accuracy['mean']:.2%}{name}{spread}"


def _print_notes(result: "Result") -> None:
    """Print what is assumed about weights that were trained elsewhere."""
    for note in result.notes:
        print_error(f"Note: {note}")


def _print_result(result: "Result") -> None:
    from convsmith.briefs.verdicts import verdict_lines

    names = result.metrics.evaluated
    for line in result.metrics.lines(result.train, result.test):
        print_text(line)
    print_text("")
    if result.checks:
        for line in verdict_lines(result.checks):
            print_text(line)
        print_text("")
    if (check := result.prediction_check) and not check.agrees:
        print_text(check.line())
    print_text(f"95% interval: {result.metrics.interval.text()}, ECE {result.metrics.calibration.ece:.2%}")
    if result.metrics.is_imbalanced:
        print_text(f"Balanced {names.kind} accuracy: {percent(result.metrics.balanced_accuracy)}")
    print_text(f"{names.title} accuracy: {result.test.accuracy:.2%}")
    print_text(f"Report: {result.page}")
