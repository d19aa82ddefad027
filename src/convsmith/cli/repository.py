"""Set up a repository: init."""

from pathlib import Path
from typing import Annotated

import typer

import convsmith as cs
from convsmith.cli.output import print_error, print_text
from convsmith.errors import RecipeError

_Folder = Annotated[
    Path, typer.Argument(metavar="[FOLDER]", help="the folder of the net; its repository may be above it")
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
    folder: _Folder = Path(),
    *,
    ci: _Ci = None,
    net: _Net = None,
    weights: _Weights = None,
    data: _Data = "",
    input_shape: _Shape = "",
    train: _Train = False,
    force: _Force = False,
) -> None:
    """Set up continuous integration in a repository: a brief, a workflow, and a badge for the README."""
    if ci is None:
        raise RecipeError("nothing to write", where="init", fix="name a brief: --ci course-a4-mnist-8k")
    setup = cs.init(
        folder,
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
