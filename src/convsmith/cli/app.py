"""The commands."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith
from convsmith import verbs
from convsmith.arch.settings import NetSettings
from convsmith.errors import RecipeError

if TYPE_CHECKING:
    from convsmith.inspect.brief import Check
    from convsmith.workflow.report import Result

app = typer.Typer(
    help="Design, check, train, explain and ship small convolutional image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="a recipe's name (see `convsmith recipes`), or a TOML file")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="fields of the recipe, for example train.epochs=5 seed=3"),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a folder that `convsmith train` made")]


@app.callback(invoke_without_command=True)
def top(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        typer.echo(f"convsmith {convsmith.__version__}")
        raise typer.Exit


@app.command()
def recipes() -> None:
    """List the recipes on the shelf, each with its measured result."""
    for recipe in verbs.recipes():
        typer.echo(f"{recipe.name:<18} {recipe.description}")
        if recipe.result:
            typer.echo(f"{'':<18} {recipe.result}")


@app.command()
def summary(
    net: Annotated[str, typer.Argument(metavar="NET|RECIPE", help="a net in the notation, or a recipe")],
    overrides: Overrides = None,
    *,
    input_shape: Annotated[
        str | None,
        typer.Option("--input", metavar="CxHxW", help="one image; a recipe's own data if left out"),
    ] = None,
    weights_only: Annotated[bool, typer.Option(help="Show only layers that have parameters.")] = False,
) -> None:
    """Show a net's layers, shapes, parameters, MACs and receptive field."""
    from convsmith.arch.tables import course_summary, receptive_field_table, totals_line

    notation, settings, shape = _net(net, overrides or [], input_shape)
    analysis = verbs.summary(notation, shape, settings)
    typer.echo(course_summary(analysis, weights_only=weights_only))
    typer.echo(f"\n{receptive_field_table(analysis)}\n\n{totals_line(analysis)}")


@app.command()
def check(target: RecipeArgument, overrides: Overrides = None) -> None:
    """Judge a recipe's net, or a finished run, by the recipe's brief; exit code 1 if a check fails."""
    if (Path(target) / "recipe.toml").is_file():
        from convsmith.training.run import RunFolder

        folder = RunFolder.open(Path(target))
        recipe = verbs.load_recipe(str(folder.path / "recipe.toml"), *(overrides or []))
        score = folder.read_json("results.json")["test"]
        checks = verbs.check(recipe, accuracy=score["correct"] / score["total"])
    else:
        recipe = verbs.load_recipe(target, *(overrides or []))
        checks = verbs.check(recipe)
    _show_checks(checks)
    if not checks:
        typer.echo(f"{recipe.name} has no brief: nothing to check")
    if any(each.verdict == "fail" for each in checks):
        raise typer.Exit(1)


@app.command()
def preview(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the pictures go")] = Path("preview"),
) -> None:
    """Draw sample images, and augmented ones as the net will see them."""
    for path in verbs.preview(verbs.load_recipe(recipe, *(overrides or [])), out):
        typer.echo(str(path))


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="where the run's folder is made")] = Path("runs"),
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time goes.")] = False,
) -> None:
    """Train a recipe; leaves a folder with weights, log, metrics, pictures and a report."""
    loaded = verbs.load_recipe(recipe, *(overrides or []))
    from convsmith.cli.console import observer
    from convsmith.training.profile import Profile

    measured = Profile(enabled=True) if profile else None
    with closing(observer()) as watcher:
        result = verbs.train(loaded, runs=runs, observers=(watcher,), profile=measured)
    if measured:
        typer.echo(f"{measured.table()}\n")
    _show_result(result)


@app.command()
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
    result = verbs.evaluate(run, robustness=robustness, duplicates=duplicates, label_errors=label_errors)
    if as_json:
        typer.echo(json.dumps(verbs.results(run), indent=2))
    else:
        _show_result(result)


@app.command()
def report(run: RunArgument) -> None:
    """Make a run's pictures and pages again from its saved predictions, without its net."""
    result = verbs.report(run)
    typer.echo(f"Report: {result.report}")
    typer.echo(f"Page: {result.page}")


@app.command()
def watch(
    run: RunArgument,
    *,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show how far it is, and leave.")] = False,
) -> None:
    """Watch a run that is trained in another terminal, until it is finished."""
    from convsmith.cli.watching import watch as show

    show(lambda: verbs.progress(run), every=every, once=once)


@app.command("lr-find")
def lr_find(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where plot and table go")] = Path("lr-find"),
    steps: Annotated[int, typer.Option(help="how many steps the test takes")] = 200,
) -> None:
    """Find a learning rate: a short training in which it grows, with a plot and a suggestion."""
    loaded = verbs.load_recipe(recipe, *(overrides or []))
    found = verbs.lr_find(loaded, out, steps=steps)
    typer.echo(f"Recipe: {loaded.train.optimizer.lr:g}")
    if found.suggestion is None:
        typer.echo("Suggestion: none; the loss never falls")
    else:
        typer.echo(f"Suggestion: train.optimizer.lr={found.suggestion:.2g} (the loss falls most steeply)")
    broke = "the training broke soon after" if found.broke else "it did not break"
    typer.echo(f"Least loss at {found.best:.2g}; {broke}")
    typer.echo(f"Plot: {out / 'lr-find.png'}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders that `convsmith train` made")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the pages go")] = Path("comparison"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare runs: table, seeds grouped, what differs, curves, and whether differences are chance."""
    found = verbs.compare(runs, out)
    if as_json:
        typer.echo(json.dumps(found.record, indent=2))
        return
    from convsmith.reports.compare_page import p_text

    for group in found.record["groups"]:
        accuracy = group["accuracy"]
        spread = "" if accuracy["deviation"] is None else f", deviation {accuracy['deviation']:.2%}"
        count = f"{accuracy['count']} run{'' if accuracy['count'] == 1 else 's'}"
        typer.echo(f"{group['label']:<24} {count:<8} {accuracy['mean']:.2%}{spread}")
    for pair in found.record["pairs"]:
        counts = f"{pair['only_first_right']} : {pair['only_second_right']}"
        typer.echo(f"{pair['first']} against {pair['second']}: {counts}, p {p_text(pair['mcnemar_p'])}")
    typer.echo(f"Page: {found.page}")
    typer.echo(f"Markdown: {found.markdown}")


def _show_checks(checks: "Sequence[Check]") -> None:
    """The verdicts of a brief, one line each, with the remedy under those that need one."""
    for number, each in enumerate(checks, start=1):
        outcome = f"{each.found} (required: {each.required})"
        typer.echo(f"{number:>2}. {each.verdict.upper():<14} {each.title:<30} {outcome}")
        if each.fix:
            typer.echo(f"    {'':<14} fix: {each.fix}")


def _show_result(result: "Result") -> None:
    typer.echo(result.train.line("Train"))
    typer.echo(result.test.line("Test"))
    typer.echo("")
    for each in result.classes:
        typer.echo(each.line())
    typer.echo("")
    if result.checks:
        _show_checks(result.checks)
        typer.echo("")
    typer.echo(f"95% interval: {result.facts.interval.text()}, ECE {result.facts.calibration.ece:.2%}")
    typer.echo(f"Test accuracy: {result.test.accuracy:.2%}")
    typer.echo(f"Report: {result.report}")


def _net(
    net: str, overrides: list[str], input_shape: str | None
) -> tuple[str, NetSettings, tuple[int, int, int]]:
    """Notation, settings and input shape that the arguments of `summary` mean."""
    from convsmith.recipe.loader import load_settings, shelf

    if net in shelf() or net.endswith(".toml"):
        recipe = verbs.load_recipe(net, *overrides)
        if input_shape is None:
            from convsmith.data.images import outline_of

            return recipe.model.net, recipe.model, outline_of(recipe.data).image_shape
        return recipe.model.net, recipe.model, _shape(input_shape)
    if input_shape is None:
        raise RecipeError("the input's shape is missing", where="--input", fix="for example --input 3x32x32")
    return net, load_settings(overrides), _shape(input_shape)


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) == 3 and all(
        part.isascii() and part.isdigit() and 1 <= int(part[:6]) <= 16384 for part in parts
    ):
        channels, height, width = map(int, parts)
        return channels, height, width
    raise RecipeError(
        f"found {text!r}, expected channels x height x width",
        where="--input",
        fix="for example --input 3x32x32",
    )
