"""The Typer application: all commands, in the order of `--help`."""

from collections.abc import Callable
from typing import Annotated

import typer

import convsmith
from convsmith.cli import checks, data, grading, grids, models, networks, repository, runs
from convsmith.cli.output import print_text
from convsmith.cli.predict import predict

app = typer.Typer(
    help="Design, check, train, explain and ship small convolutional image classifiers.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(
    help="Describe and check data sets.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print_text(f"convsmith {convsmith.__version__}")
        raise typer.Exit
    print_help(context)


@data_app.callback(invoke_without_command=True)
def print_help(context: typer.Context) -> None:
    """Print the help if no command is named."""
    if context.invoked_subcommand is None:
        print_text(context.get_help())


COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": networks.recipes,
    "summary": networks.summary,
    "check": checks.check,
    "init": repository.init,
    "grade": grading.grade,
    "format": networks.format_,
    "preview": data.preview,
    "train": runs.train,
    "resume": runs.resume,
    "folds": runs.folds,
    "grid": grids.grid,
    "evaluate": runs.evaluate,
    "report": runs.report,
    "watch": runs.watch,
    "lr-find": runs.lr_find,
    "compare": runs.compare,
    "search": runs.search,
    "predict": predict,
    "export": models.export,
    "eject": models.eject,
    "hand-in": models.hand_in,
    "draw": networks.draw,
    "receptive-field": networks.receptive_field,
    "explain": networks.explain,
}
for name, command in COMMANDS.items():
    app.command(name)(command)

data_app.command("describe")(data.describe_data)
data_app.command("verify")(data.verify_data)
data_app.command("decode")(data.decode_data)
app.add_typer(data_app, name="data")
