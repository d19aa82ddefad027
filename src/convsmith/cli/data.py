"""Commands for data sets: preview, data describe, data verify, data decode."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, On, Overrides, RecipeArgument, Refresh, Workers
from convsmith.cli.output import print_text
from convsmith.text import plural


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


_Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE|RECIPE",
        help="a data set's name, a folder, owner/name on the hub, or a recipe's name or TOML file",
    ),
]


def describe_data(
    source: _Source,
    overrides: Overrides = None,
    *,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="the page with charts and pictures; by default NAME-data.html"
        ),
    ] = None,
    refresh: Refresh = False,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: classes, balance, sizes, files, duplicates, issues, and a page with pictures."""
    from convsmith.data.checks.description import description_lines

    if report is None and not as_json:
        report = Path(f"{_file_stem(source)}-data.html")
    description = cs.describe_data(source, *(overrides or []), report=report, refresh=refresh)
    if as_json:
        print_text(json.dumps(description.record(), indent=2))
        return
    for line in description_lines(description):
        print_text(line)
    print_text(f"\npage: {report}")


def _file_stem(source: str) -> str:
    """Return the name of a source as the beginning of a file name."""
    name = Path(source).expanduser().absolute().name.removesuffix(".toml")
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "data"


def verify_data(
    source: _Source,
    overrides: Overrides = None,
    *,
    show_all: Annotated[bool, typer.Option("--all", help="List every file.")] = False,
    refresh: Refresh = False,
    near_duplicates: Annotated[
        bool,
        typer.Option("--near-duplicates", help="Also find flipped, rotated, shifted and brighter copies."),
    ] = False,
    on: On = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a data set; exit with code 1 if there are issues."""
    from convsmith.data.issues import DEFAULT_LIMIT, report_lines

    verification = cs.verify_data(
        source,
        *(overrides or []),
        refresh=refresh,
        near_duplicates=near_duplicates,
        on=on,
        workers=workers,
    )
    if as_json:
        print_text(json.dumps(verification.record(), indent=2))
    else:
        for line in report_lines(verification, limit=None if show_all else DEFAULT_LIMIT):
            print_text(line)
    if not verification.clean:
        raise typer.Exit(1)


def decode_data(
    source: _Source,
    overrides: Overrides = None,
    *,
    refresh: Refresh = False,
    on: On = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Decode a data set into the cache, where training and every other command use it."""
    decoded = cs.decode_data(source, *(overrides or []), refresh=refresh, on=on, workers=workers)
    if as_json:
        print_text(json.dumps(decoded.record(), indent=2))
        return
    channels, height, width = decoded.image_shape
    images = ", ".join(plural(count, f"{name} image") for name, count in decoded.images.items())
    print_text(
        f"{decoded.title}: {images} of {height}x{width}x{channels}, {plural(len(decoded.classes), 'class')}"
    )
    if decoded.left_out:
        print_text(f"left out: {plural(decoded.left_out, 'unusable image')}")
    print_text(f"fingerprint: {decoded.fingerprint}\ncache: {decoded.folder}")
