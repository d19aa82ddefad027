"""Commands for networks: recipes, summary, format, draw, receptive-field, explain."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import (
    AsJson,
    AsMarkdown,
    InputShape,
    Overrides,
    TargetArgument,
    TrustCode,
    resolve,
)
from convsmith.cli.output import print_error, print_text
from convsmith.system import files, paths


class View(StrEnum):
    """The tables of `summary`."""

    ALL = "all"
    COURSE = "course"
    COMPACT = "compact"
    RECEPTIVE_FIELD = "receptive-field"
    OUTLINE = "outline"
    TOTALS = "totals"


# The tables of `all`, in their order; with a depth the outline instead of the long ones.
_ALL = (View.TOTALS, View.COURSE, View.RECEPTIVE_FIELD)
_ALL_WITH_DEPTH = (View.TOTALS, View.OUTLINE)


def recipes() -> None:
    """List the recipes of the library with their measured results."""
    library = cs.list_recipes()
    width = max(len(recipe.name) for recipe in library)
    for recipe in library:
        print_text(f"{recipe.name:<{width}} {recipe.description}")
        if recipe.result:
            print_text(f"{'':<{width}} {recipe.result}")


def summary(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    view: Annotated[View, typer.Option(help="Which tables to show.")] = View.ALL,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Group layers by N parts of their path, and fold equal ones."),
    ] = None,
    weights_only: Annotated[bool, typer.Option(help="Show only layers with parameters.")] = False,
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="Write one line for each layer; - prints it instead."),
    ] = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Show layers, shapes, parameters, MACs, memory and receptive field of a network."""
    from convsmith.models.resolve import model_files
    from convsmith.net import spreadsheet, tables

    if csv_file and csv_file != "-":
        paths.check_outputs([Path(csv_file)], model_files(target))
    model = resolve(target, overrides, input_shape, trust_code=trust_code)
    print_module_notes(model)
    analysis = model.analysis
    if csv_file:
        text = spreadsheet.outline_csv(analysis, depth) if depth else spreadsheet.rows_csv(analysis)
        if csv_file == "-":
            print_text(text.removesuffix("\n"))
            return
        files.write_text(Path(csv_file), text)
    if as_json:
        print_text(json.dumps(tables.record(analysis), indent=2))
        return
    parts: dict[View, Callable[[], str]] = {
        View.COURSE: lambda: tables.course_summary(analysis, weights_only=weights_only),
        View.COMPACT: lambda: tables.compact_table(analysis),
        View.RECEPTIVE_FIELD: lambda: tables.receptive_field_table(analysis),
        View.OUTLINE: lambda: tables.outline_table(analysis, depth),
        View.TOTALS: lambda: "\n".join(tables.totals(analysis)),
    }
    every = _ALL_WITH_DEPTH if depth else _ALL
    selected = every if view is View.ALL else (view,)
    if as_markdown:
        print_text("\n\n".join(tables.in_markdown(each.value, parts[each]()) for each in selected))
    else:
        print_text("\n\n".join(parts[each]() for each in selected))


def format_(net: Annotated[str, typer.Argument(metavar="NET", help="a network in notation")]) -> None:
    """Print notation in its canonical form."""
    print_text(cs.format_net(net))


def draw(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for net.svg and net.png")] = Path("drawn"),
    trust_code: TrustCode = False,
) -> None:
    """Draw a network: layers, shapes, branches and receptive field."""
    model = resolve(target, overrides, input_shape, trust_code=trust_code)
    print_module_notes(model)
    for path in cs.draw(model.analysis, out, heading=model.name if model.recipe else ""):
        print_text(str(path))


def receptive_field(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="images to average over")] = 256,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for picture and numbers")] = Path("drawn"),
    trust_code: TrustCode = False,
) -> None:
    """Measure the effective receptive field of a trained model, or of initial weights.

    It is measured on test images; for notation and modules, on noise.
    """
    model = resolve(target, overrides, input_shape, trust_code=trust_code)
    for note in model.notes:
        print_error(note)
    from convsmith.reports.receptive_field import field_lines

    field, picture = cs.receptive_field(model, out, num_images=images)
    for line in (*field_lines(field), str(picture)):
        print_text(line)


def print_module_notes(model: "cs.Model") -> None:
    """Print on standard error what was left out of a user's file, and what to know before it is trained."""
    for note in model.net_notes:
        print_error(note)


def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="as in error[E021]")]) -> None:
    """Explain an error code: what happened, why, and how to fix it."""
    print_text(cs.explain_error(code))
