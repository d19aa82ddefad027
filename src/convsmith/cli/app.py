"""The commands, put together in the order in which `--help` lists them."""

from collections.abc import Callable
from typing import Annotated

import typer

import convsmith
from convsmith.cli import designing, looking, shipping, training
from convsmith.cli.output import say

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


COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": designing.recipes,
    "summary": designing.summary,
    "check": designing.check,
    "format": designing.format_,
    "preview": looking.preview,
    "train": training.train,
    "resume": training.resume,
    "evaluate": training.evaluate,
    "report": training.report,
    "watch": training.watch,
    "lr-find": training.lr_find,
    "compare": training.compare,
    "search": training.search,
    "predict": shipping.predict,
    "export": shipping.export,
    "eject": shipping.eject,
    "draw": designing.draw,
    "receptive-field": designing.receptive_field,
    "explain": designing.explain,
}
for name, command in COMMANDS.items():
    app.command(name)(command)

data.command("verify")(looking.verify_data)
app.add_typer(data, name="data")
