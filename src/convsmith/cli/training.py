"""The commands that train nets, judge runs and look for better ones."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, Overrides, RecipeArgument, RunArgument, TensorBoard
from convsmith.cli.output import complain, say

if TYPE_CHECKING:
    from convsmith.reports.report import Result


def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="where the run's folder is made")] = Path("runs"),
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out images that cannot be used; the run lists them.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time goes.")] = False,
    tensorboard: TensorBoard = False,
) -> None:
    """Train a recipe; leaves a folder with weights, log, metrics, pictures and a report."""
    chosen = [*(overrides or []), *(["data.skip_damaged=true"] if skip_damaged else [])]
    loaded = cs.load_recipe(recipe, *chosen)
    from convsmith.cli.console import callback
    from convsmith.training.profiler import Profile

    measured = Profile(enabled=True) if profile else None
    with closing(callback()) as watcher:
        result = cs.train(loaded, runs=runs, callbacks=(watcher,), profile=measured, tensorboard=tensorboard)
    if measured:
        say(f"{measured.table()}\n")
    _show_result(result)


def resume(
    run: RunArgument,
    *,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Epochs in all; trains a finished run for longer.")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although recipe, data or machine differ.")
    ] = False,
    tensorboard: TensorBoard = False,
) -> None:
    """Go on with a run that was interrupted, from where it stopped, or train a finished one for longer."""
    from convsmith.cli.console import callback

    with closing(callback()) as watcher:
        result = cs.resume(
            run,
            epochs=epochs,
            accept_changes=accept_changes,
            callbacks=(watcher,),
            tensorboard=tensorboard,
        )
    _show_result(result)


def watch(
    run: RunArgument,
    *,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show how far it is, and leave.")] = False,
) -> None:
    """Watch a run that is trained in another terminal, until it is finished."""
    from convsmith.cli.watching import watch as show

    show(lambda: cs.progress(run), every=every, once=once)


def evaluate(
    run: RunArgument,
    *,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also score spoiled test images: 6 ways, 5 strengths.")
    ] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Also look for test images that the training set nearly has.")
    ] = False,
    label_errors: Annotated[
        bool, typer.Option("--label-errors", help="Also look for test labels that are probably wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all facts as JSON.")] = False,
) -> None:
    """Score a run's weights on its training and test images; write its pictures and report anew."""
    result = cs.evaluate(run, robustness=robustness, duplicates=duplicates, label_errors=label_errors)
    if as_json:
        say(json.dumps(cs.results(run), indent=2))
    else:
        _show_result(result)


def report(run: RunArgument) -> None:
    """Make a run's pictures and pages again from its saved predictions, without its net."""
    result = cs.report(run)
    say(f"Report: {result.page}")
    say(f"For a repository: {result.report}")


def lr_find(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where plot and table go")] = Path("lr-find"),
    steps: Annotated[int, typer.Option(help="how many steps the test takes")] = 200,
) -> None:
    """Find a learning rate: a short training in which it grows, with a plot and a suggestion."""
    loaded = cs.load_recipe(recipe, *(overrides or []))
    found = cs.lr_find(loaded, out, steps=steps)
    say(f"Recipe: {loaded.train.optimizer.lr:g}")
    if found.suggestion is None:
        say("Suggestion: none; the loss never falls")
    else:
        say(f"Suggestion: train.optimizer.lr={found.suggestion:.2g} (the loss falls most steeply)")
    broke = "the training broke soon after" if found.broke else "it did not break"
    say(f"Least loss at {found.best:.2g}; {broke}")
    say(f"Plot: {out / 'lr-find.png'}")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders that `convsmith train` made")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the pages go")] = Path("comparison"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare runs: table, seeds grouped, what differs, curves, and whether differences are chance."""
    found = cs.compare(runs, out)
    if as_json:
        say(json.dumps(found.record, indent=2))
        return
    from convsmith.reports.compare_page import format_p

    for group in found.record["groups"]:
        accuracy = group["accuracy"]
        spread = "" if accuracy["deviation"] is None else f", deviation {accuracy['deviation']:.2%}"
        count = f"{accuracy['count']} run{'' if accuracy['count'] == 1 else 's'}"
        say(f"{group['label']:<24} {count:<8} {accuracy['mean']:.2%}{spread}")
    for pair in found.record["pairs"]:
        counts = f"{pair['only_first_right']} : {pair['only_second_right']}"
        say(f"{pair['first']} against {pair['second']}: {counts}, p {format_p(pair['mcnemar_p'])}")
    say(f"Page: {found.page}")
    say(f"Markdown: {found.markdown}")


def search(
    brief: Annotated[str, typer.Argument(metavar="BRIEF", help="a brief's name, or a TOML file")],
    *,
    recipe: Annotated[str, typer.Option("--recipe", metavar="RECIPE", help="the starting point, trial 0")],
    trials: Annotated[int | None, typer.Option(metavar="N", help="trials in all")] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="how long; 60 where neither is given")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="of a candidate's whole training")] = 5,
    study: Annotated[
        Path, typer.Option(metavar="DIR", help="of the search; one that was begun goes on")
    ] = Path("study"),
    seed: Annotated[int, typer.Option(help="of what is tried")] = 0,
    factor: Annotated[int, typer.Option(metavar="N", help="one trial in so many goes on from a rung")] = 3,
    macs_factor: Annotated[
        float, typer.Option(metavar="X", help="at most so many times the starting point's MACs")
    ] = 1.5,
    as_json: AsJson = False,
) -> None:
    """Search for better nets under a brief, around a recipe; leaves a report and ready recipes."""
    found = cs.search(
        brief,
        cs.load_recipe(recipe),
        trials=trials,
        minutes=minutes,
        epochs=epochs,
        study=study,
        seed=seed,
        factor=factor,
        macs_factor=macs_factor,
        log=complain if as_json else say,
    )
    from convsmith.nas.results import record, table

    if as_json:
        say(json.dumps(record(found.data), indent=2))
        return
    for line in ["", *table(found.data), "", *(command for _, command in found.data.commands)]:
        say(line)
    say(f"Report: {found.page}")


def _show_result(result: "Result") -> None:
    from convsmith.briefs.verdicts import verdict_lines

    say(result.train.line("Train"))
    say(result.test.line("Test"))
    say("")
    for each in result.classes:
        say(each.line())
    say("")
    if result.checks:
        for line in verdict_lines(result.checks):
            say(line)
        say("")
    say(f"95% interval: {result.metrics.interval.text()}, ECE {result.metrics.calibration.ece:.2%}")
    say(f"Test accuracy: {result.test.accuracy:.2%}")
    say(f"Report: {result.page}")
