"""Commands for data sets: preview, data verify."""

import json
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, Overrides, RecipeArgument, Refresh
from convsmith.cli.output import print_text


def preview(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the pictures")] = Path("preview"),
    refresh: Refresh = False,
) -> None:
    """Draw sample images, and augmented images as the network receives them."""
    for path in cs.preview(cs.load_recipe(recipe, *(overrides or [])), out, refresh=refresh):
        print_text(str(path))


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
    show_all: Annotated[bool, typer.Option("--all", help="List every file.")] = False,
    refresh: Refresh = False,
    near_duplicates: Annotated[
        bool,
        typer.Option("--near-duplicates", help="Also find flipped, rotated, shifted and brighter copies."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file of a data set; exit with code 1 if there are issues."""
    from convsmith.data.issues import DEFAULT_LIMIT, report_lines

    verification = cs.verify_data(
        source, *(overrides or []), refresh=refresh, near_duplicates=near_duplicates
    )
    if as_json:
        print_text(json.dumps(verification.record(), indent=2))
    else:
        for line in report_lines(verification, limit=None if show_all else DEFAULT_LIMIT):
            print_text(line)
    if not verification.clean:
        raise typer.Exit(1)
