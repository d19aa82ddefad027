"""The commands that look at data."""

import json
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, Overrides, RecipeArgument
from convsmith.cli.output import say


def preview(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where the pictures go")] = Path("preview"),
) -> None:
    """Draw sample images, and augmented ones as the net will see them."""
    for path in cs.preview(cs.load_recipe(recipe, *(overrides or [])), out):
        say(str(path))


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
    from convsmith.data.issues import DEFAULT_LIMIT, report_lines

    found = cs.verify_data(source, *(overrides or []))
    if as_json:
        say(json.dumps(found.record(), indent=2))
    else:
        for line in report_lines(found, limit=None if show_all else DEFAULT_LIMIT):
            say(line)
    if not found.clean:
        raise typer.Exit(1)
