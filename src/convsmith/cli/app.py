"""The commands."""

import json
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith
from convsmith import verbs
from convsmith.cli.output import complain, say
from convsmith.errors import RecipeError

if TYPE_CHECKING:
    from convsmith.workflow.report import Result
    from convsmith.workflow.target import Target

app = typer.Typer(
    help="Design, check, train, explain and ship small convolutional image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data = typer.Typer(
    help="Look at a data set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="a recipe's name (see `convsmith recipes`), or a TOML file")
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="NET|RECIPE|FILE.py:CLASS|RUN",
        help="a net in the notation, a recipe's name or TOML file, a module of your own, or a run's folder",
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input", metavar="CxHxW", help="one image; a recipe's own data if left out"),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a README.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="fields of the recipe, for example train.epochs=5 seed=3"),
]
TrainedArgument = Annotated[
    str, typer.Argument(metavar="NAME|BUNDLE|RUN", help="a net of the zoo, a bundle's folder, or a run's")
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, mps or auto; the CPU if left out")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a folder that `convsmith train` made")]


TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Also write curves for TensorBoard; needs the extra of that name."),
]


class View(StrEnum):
    """The tables that `summary` can show."""

    ALL = "all"
    COURSE = "course"
    COMPACT = "compact"
    RECEPTIVE_FIELD = "receptive-field"
    TOTALS = "totals"


@app.callback(invoke_without_command=True)
def top(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        say(f"convsmith {convsmith.__version__}")
        raise typer.Exit


@app.command()
def recipes() -> None:
    """List the recipes on the shelf, each with its measured result."""
    shelf = verbs.recipes()
    width = max(len(recipe.name) for recipe in shelf)
    for recipe in shelf:
        say(f"{recipe.name:<{width}} {recipe.description}")
        if recipe.result:
            say(f"{'':<{width}} {recipe.result}")


@app.command()
def summary(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    view: Annotated[View, typer.Option(help="Which tables to show.")] = View.ALL,
    weights_only: Annotated[bool, typer.Option(help="Show only layers that have parameters.")] = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Show a net's layers, shapes, parameters, MACs, memory and receptive field."""
    from convsmith.arch import tables

    analysis = _target(target, overrides, input_shape).analysis
    if as_json:
        say(json.dumps(tables.record(analysis), indent=2))
        return
    parts: dict[View, Callable[[], str]] = {
        View.COURSE: lambda: tables.course_summary(analysis, weights_only=weights_only),
        View.COMPACT: lambda: tables.compact_table(analysis),
        View.RECEPTIVE_FIELD: lambda: tables.receptive_field_table(analysis),
        View.TOTALS: lambda: "\n".join(tables.totals(analysis)),
    }
    shown = [each for each in parts if view in {View.ALL, each} and (each, view) != (View.COMPACT, View.ALL)]
    if as_markdown:
        say("\n\n".join(tables.in_markdown(each.value, parts[each]()) for each in shown))
    else:
        say("\n\n".join(parts[each]() for each in shown))


@app.command()
def check(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    brief: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="a brief's name or TOML file; the recipe's own if left out"),
    ] = None,
    input_shape: InputShape = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Judge a recipe, a net, a module or a finished run by a brief; exit code 1 if a check fails."""
    from convsmith.inspect.hints import hints
    from convsmith.inspect.verdicts import hint_lines, verdict_lines, verdict_record, verdict_table
    from convsmith.recipe.briefs import load_brief

    wanted = load_brief(brief) if brief else None
    subject = _target(target, overrides, input_shape)
    checks, found = subject.judge(wanted), hints(subject.analysis)
    if as_json:
        say(json.dumps(verdict_record(checks, found), indent=2))
    elif as_markdown:
        say(verdict_table(checks))
    else:
        for line in [*verdict_lines(checks), *hint_lines(found)]:
            say(line)
        if not checks:
            say(f"{subject.name} has no brief: nothing to check; name one with --brief")
    if any(each.verdict == "fail" for each in checks):
        raise typer.Exit(1)


@app.command("format")
def format_(net: Annotated[str, typer.Argument(metavar="NET", help="a net in the notation")]) -> None:
    """Print a net in the notation's canonical form."""
    say(verbs.format_net(net))


@app.command()
def preview(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the pictures go")] = Path("preview"),
) -> None:
    """Draw sample images, and augmented ones as the net will see them."""
    for path in verbs.preview(verbs.load_recipe(recipe, *(overrides or [])), out):
        say(str(path))


@data.command("verify")
def verify_data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE|RECIPE",
            help="a data set's name, a folder, owner/name on the hub, or a recipe's name or TOML file",
        ),
    ],
    overrides: Overrides = None,
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Name all files, not some of each kind.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with a data set, file by file; exit code 1 if there is anything."""
    from convsmith.data.findings import FEW_TOLD, lines

    found = verbs.verify_data(source, *(overrides or []))
    if as_json:
        say(json.dumps(found.record(), indent=2))
    else:
        for line in lines(found, told=None if show_all else FEW_TOLD):
            say(line)
    if not found.clean:
        raise typer.Exit(1)


@app.command()
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
    loaded = verbs.load_recipe(recipe, *chosen)
    from convsmith.cli.console import observer
    from convsmith.training.profile import Profile

    measured = Profile(enabled=True) if profile else None
    with closing(observer()) as watcher:
        result = verbs.train(
            loaded, runs=runs, observers=(watcher,), profile=measured, tensorboard=tensorboard
        )
    if measured:
        say(f"{measured.table()}\n")
    _show_result(result)


@app.command()
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
    from convsmith.cli.console import observer

    with closing(observer()) as watcher:
        result = verbs.resume(
            run,
            epochs=epochs,
            accept_changes=accept_changes,
            observers=(watcher,),
            tensorboard=tensorboard,
        )
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
        say(json.dumps(verbs.results(run), indent=2))
    else:
        _show_result(result)


@app.command()
def report(run: RunArgument) -> None:
    """Make a run's pictures and pages again from its saved predictions, without its net."""
    result = verbs.report(run)
    say(f"Report: {result.page}")
    say(f"For a repository: {result.report}")


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
    say(f"Recipe: {loaded.train.optimizer.lr:g}")
    if found.suggestion is None:
        say("Suggestion: none; the loss never falls")
    else:
        say(f"Suggestion: train.optimizer.lr={found.suggestion:.2g} (the loss falls most steeply)")
    broke = "the training broke soon after" if found.broke else "it did not break"
    say(f"Least loss at {found.best:.2g}; {broke}")
    say(f"Plot: {out / 'lr-find.png'}")


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
        say(json.dumps(found.record, indent=2))
        return
    from convsmith.reports.compare_page import p_text

    for group in found.record["groups"]:
        accuracy = group["accuracy"]
        spread = "" if accuracy["deviation"] is None else f", deviation {accuracy['deviation']:.2%}"
        count = f"{accuracy['count']} run{'' if accuracy['count'] == 1 else 's'}"
        say(f"{group['label']:<24} {count:<8} {accuracy['mean']:.2%}{spread}")
    for pair in found.record["pairs"]:
        counts = f"{pair['only_first_right']} : {pair['only_second_right']}"
        say(f"{pair['first']} against {pair['second']}: {counts}, p {p_text(pair['mcnemar_p'])}")
    say(f"Page: {found.page}")
    say(f"Markdown: {found.markdown}")


@app.command()
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
    found = verbs.search(
        brief,
        verbs.load_recipe(recipe),
        trials=trials,
        minutes=minutes,
        epochs=epochs,
        study=study,
        seed=seed,
        factor=factor,
        macs_factor=macs_factor,
        tell=complain if as_json else say,
    )
    from convsmith.searching.findings import record, table

    if as_json:
        say(json.dumps(record(found.facts), indent=2))
        return
    for line in ["", *table(found.facts), "", *(command for _, command in found.facts.commands)]:
        say(line)
    say(f"Report: {found.page}")


@app.command()
def predict(
    target: TrainedArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="files, folders, patterns, http(s) addresses, or - for standard input"
        ),
    ],
    *,
    top_k: Annotated[int, typer.Option("--top-k", metavar="K", min=1, help="likeliest classes to tell")] = 3,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row an image.")
    ] = None,
    jsonl_file: Annotated[
        Path | None, typer.Option("--jsonl", metavar="FILE", help="Write a JSON object an image.")
    ] = None,
    as_json: AsJson = False,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, max=65_536, help="images at once")] = 256,
    device: Device = None,
) -> None:
    """Classify images by a trained net; exit code 1 if one cannot be read, the others are classified."""
    from convsmith.cli.predicting import show
    from convsmith.ship.given import items_of

    items = list(items_of(images))
    classifier = verbs.load(target, device=device)
    answers = classifier.answers(items, top_k=top_k, batch_size=batch_size)
    if show(answers, len(items), csv_file=csv_file, jsonl_file=jsonl_file, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE|NAME|NET|RECIPE",
            help="for --bundle a run's folder; for --onnx also a bundle's, or a net of the zoo; for --code "
            "also a net in the notation, a recipe's name or TOML file",
        ),
    ],
    overrides: Overrides = None,
    *,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a run's bundle: all that predicting needs.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one ONNX file, compared with PyTorch first.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With --onnx: 8-bit numbers.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGES", help="With --onnx: compare on these instead of the test images."),
    ] = None,
    code: Annotated[bool, typer.Option("--code", help="Write model.py, plain PyTorch.")] = False,
    input_shape: InputShape = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where --code writes")] = Path("exported"),
    force: Annotated[bool, typer.Option("--force", help="Replace what is there under the names.")] = False,
) -> None:
    """Write a net in a form that others use: a run's bundle, ONNX, or plain PyTorch code."""
    if (int8 or images) and not onnx:
        raise RecipeError("these go with --onnx FILE", where="--int8, --images", fix="add --onnx model.onnx")
    if not (bundle or onnx or code):
        raise RecipeError(
            "nothing to write",
            where="export",
            fix="say what: --bundle DIR, --onnx FILE, or --code for model.py",
        )
    if overrides and not code:
        raise RecipeError(
            "a trained net cannot be changed", where=overrides[0], fix="train it so, then export it"
        )
    if code:
        for path in verbs.export(_target(target, overrides, input_shape), out, replace=force):
            say(str(path))
    if bundle:
        say(str(verbs.export_bundle(Path(target), bundle, replace=force)))
    if onnx:
        parity = verbs.export_onnx(target, onnx, int8=int8, images=images or (), replace=force)
        for line in (*parity.lines(), str(onnx)):
            say(line)


@app.command()
def eject(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new or an empty folder")],
) -> None:
    """Write a run out as a plain project without convsmith: code, weights, log, plots, notebook, README."""
    for path in verbs.eject(run, folder):
        typer.echo(str(path))


@app.command()
def draw(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where net.svg and net.png go")] = Path("drawn"),
) -> None:
    """Draw a net: layers, shapes, branches, and the receptive field growing."""
    found = _target(target, overrides, input_shape)
    for path in verbs.draw(found.analysis, out, heading=found.name if found.recipe else ""):
        say(str(path))


@app.command("receptive-field")
def receptive_field(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="test images to average over")] = 256,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where picture and numbers go")] = Path("drawn"),
) -> None:
    """Measure what a net really looks at: a run's with its weights, a recipe's with initial ones."""
    found = _target(target, overrides, None)
    from convsmith.reports.fields import field_lines

    field, picture = verbs.receptive_field(found, out, num_images=images)
    for line in (*field_lines(field), str(picture)):
        say(line)


@app.command()
def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="as in error[E021]")]) -> None:
    """Explain the code of an error: what happened, why, how to mend it."""
    say(verbs.explain_error(code))


def _target(text: str, overrides: list[str] | None, input_shape: str | None) -> "Target":
    return verbs.load_target(text, *(overrides or []), input_shape=_shape(input_shape))


def _show_result(result: "Result") -> None:
    from convsmith.inspect.verdicts import verdict_lines

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
    say(f"95% interval: {result.facts.interval.text()}, ECE {result.facts.calibration.ece:.2%}")
    say(f"Test accuracy: {result.test.accuracy:.2%}")
    say(f"Report: {result.page}")


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
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
