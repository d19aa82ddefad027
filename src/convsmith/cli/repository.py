"""Begin: init writes a first recipe, or sets up a repository."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.output import print_error, print_text
from convsmith.errors import RecipeError
from convsmith.text import printable

_Place = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE|FOLDER",
        help="a data set, as data.source takes it, for a first recipe; with --ci the folder of the net, by "
        "default the working directory",
    ),
]
_Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="fields of [data], for example data.resize=64"),
]
_Minutes = Annotated[
    float | None, typer.Option(metavar="MINUTES", help="time budget of the training; by default 10")
]
_Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Whether a mirrored image is still of its class; by default judged, or asked.",
    ),
]
_RangeTest = Annotated[
    bool, typer.Option("--no-range-test", help="Use the default learning rate instead of measuring it.")
]
_Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="file for the recipe; by default standard output")
]
_Ci = Annotated[
    str | None,
    typer.Option(metavar="BRIEF", help="Write a workflow that checks the net by this brief on every push."),
]
_Net = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE.py:CLASS", help="the net; by default the only one in FOLDER. One option for each net."
    ),
]
_Weights = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Evaluate these weights in the workflow; one file for each net."),
]
_Data = Annotated[
    str, typer.Option(metavar="SOURCE", help="the data set, for example mnist; by default that of the brief")
]
_Shape = Annotated[
    str, typer.Option("--input", metavar="CxHxW", help="the shape of an image instead of the data")
]
_Train = Annotated[
    bool, typer.Option("--train", help="Train the net in the workflow, by the rules of the brief.")
]
_Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]


def init(
    place: _Place = None,
    overrides: _Overrides = None,
    *,
    minutes: _Minutes = None,
    flip: _Flip = None,
    no_range_test: _RangeTest = False,
    out: _Out = None,
    ci: _Ci = None,
    net: _Net = None,
    weights: _Weights = None,
    data: _Data = "",
    input_shape: _Shape = "",
    train: _Train = False,
    force: _Force = False,
) -> None:
    """Write a first recipe for a data set, or with --ci what makes a repository check a net on every push.

    convsmith init SOURCE > mine.toml    a recipe with comments, that fits the images and this machine

    convsmith init [FOLDER] --ci BRIEF    a brief, a workflow, and a badge for the README
    """
    of_recipe = {"--minutes": minutes, "--flip": flip, "--no-range-test": no_range_test, "--out": out}
    of_ci = {"--net": net, "--weights": weights, "--data": data, "--input": input_shape, "--train": train}
    if ci is None:
        _check_unused(of_ci, "need --ci", "a first recipe takes a data set only: convsmith init SOURCE")
        if place is None:
            raise RecipeError(
                "nothing to write",
                where="init",
                fix="name a data set for a first recipe: convsmith init digits; or a brief for continuous "
                "integration: convsmith init --ci course-a4-mnist-8k",
            )
        _write_recipe(place, overrides, minutes, flip, out, range_test=not no_range_test, force=force)
        return
    of_recipe |= {str(each): True for each in overrides or []}
    _check_unused(of_recipe, "are for a first recipe", "leave them out with --ci")
    setup = cs.init(
        Path(place or "."),
        ci=ci,
        nets=net or [],
        weights=weights or [],
        data=data,
        input_shape=input_shape,
        train=train,
        force=force,
    )
    for path in setup.files:
        print_text(str(path))
    for outcome in setup.outcomes:
        print_text(f"now: {outcome}")
    for note in setup.notes:
        print_error(f"Note: {note}")
    print_text(f"For the README:\n{setup.badge}")


def _check_unused(options: Mapping[str, object], what: str, fix: str) -> None:
    if used := [name for name, value in options.items() if value not in (None, False, "", [])]:
        raise RecipeError(f"these {what}", where=", ".join(used), fix=fix)


def _write_recipe(
    source: str,
    overrides: list[str] | None,
    minutes: float | None,
    flip: bool | None,
    out: Path | None,
    *,
    range_test: bool,
    force: bool,
) -> None:
    """Write the recipe alone to standard output or a file; all else goes to standard error."""
    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    starter = cs.start_recipe(
        source,
        *(overrides or []),
        minutes=10.0 if minutes is None else minutes,
        flip=flip,
        range_test=range_test,
        ask=ask,
        out=out,
        replace=force,
    )
    if out is None:
        typer.echo(starter.text, nl=False)
    print_error(f"Time: {starter.estimate}")
    if starter.assumption:
        print_error(f"Assumed: {starter.assumption}; --flip or --no-flip decides")
    name = "mine.toml" if out is None else str(out)
    print_error(f"Next: convsmith check {name}, then convsmith train {name}")


def _ask(question: str, default: bool) -> bool:
    return typer.confirm(printable(question), default=default, err=True)
