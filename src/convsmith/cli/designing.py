"""The commands that need no trained net: recipes, numbers, briefs, drawings."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, AsMarkdown, InputShape, Overrides, TargetArgument, resolve
from convsmith.cli.output import print_error, print_text


class View(StrEnum):
    """The tables that `summary` can show."""

    ALL = "all"
    COURSE = "course"
    COMPACT = "compact"
    RECEPTIVE_FIELD = "receptive-field"
    TOTALS = "totals"


def recipes() -> None:
    """List the recipes on the shelf, each with its measured result."""
    recipe_names = cs.list_recipes()
    width = max(len(recipe.name) for recipe in recipe_names)
    for recipe in recipe_names:
        print_text(f"{recipe.name:<{width}} {recipe.description}")
        if recipe.result:
            print_text(f"{'':<{width}} {recipe.result}")


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
    from convsmith.net import tables

    analysis = resolve(target, overrides, input_shape).analysis
    if as_json:
        print_text(json.dumps(tables.record(analysis), indent=2))
        return
    parts: dict[View, Callable[[], str]] = {
        View.COURSE: lambda: tables.course_summary(analysis, weights_only=weights_only),
        View.COMPACT: lambda: tables.compact_table(analysis),
        View.RECEPTIVE_FIELD: lambda: tables.receptive_field_table(analysis),
        View.TOTALS: lambda: "\n".join(tables.totals(analysis)),
    }
    shown = [each for each in parts if view in {View.ALL, each} and (each, view) != (View.COMPACT, View.ALL)]
    if as_markdown:
        print_text("\n\n".join(tables.in_markdown(each.value, parts[each]()) for each in shown))
    else:
        print_text("\n\n".join(parts[each]() for each in shown))


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
    """Judge a recipe, a net, a module, a run or a bundle by a brief; exit code 1 if a check fails."""
    from convsmith.briefs.hints import hints
    from convsmith.briefs.loader import load_brief
    from convsmith.briefs.verdicts import hint_lines, verdict_lines, verdict_record, verdict_table

    wanted = load_brief(brief) if brief else None
    subject = resolve(target, overrides, input_shape)
    checks, found = subject.judge(wanted), hints(subject.analysis)
    if as_json:
        print_text(json.dumps(verdict_record(checks, found), indent=2))
    elif as_markdown:
        print_text(verdict_table(checks))
    else:
        for line in [*verdict_lines(checks), *hint_lines(found)]:
            print_text(line)
        if not checks:
            print_text(f"{subject.name} has no brief: nothing to check; name one with --brief")
    if any(each.verdict == "fail" for each in checks):
        raise typer.Exit(1)


def format_(net: Annotated[str, typer.Argument(metavar="NET", help="a net in the notation")]) -> None:
    """Print a net in the notation's canonical form."""
    print_text(cs.format_net(net))


def draw(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    input_shape: InputShape = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where net.svg and net.png go")] = Path("drawn"),
) -> None:
    """Draw a net: layers, shapes, branches, and the receptive field growing."""
    found = resolve(target, overrides, input_shape)
    for path in cs.draw(found.analysis, out, heading=found.name if found.recipe else ""):
        print_text(str(path))


def receptive_field(
    target: TargetArgument,
    overrides: Overrides = None,
    *,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="test images to average over")] = 256,
    out: Annotated[Path, typer.Option(metavar="DIR", help="where picture and numbers go")] = Path("drawn"),
) -> None:
    """Measure what a net really looks at: a run's with its weights, a recipe's with initial ones."""
    found = resolve(target, overrides, None)
    for note in found.notes:
        print_error(note)
    from convsmith.reports.receptive_field import field_lines

    field, picture = cs.receptive_field(found, out, num_images=images)
    for line in (*field_lines(field), str(picture)):
        print_text(line)


def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="as in error[E021]")]) -> None:
    """Explain the code of an error: what happened, why, how to mend it."""
    print_text(cs.explain_error(code))
