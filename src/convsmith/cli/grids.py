"""The command grid: many runs on several workers."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith as cs
from convsmith.cli.arguments import AsJson, Module, On, TrustCode, Workers, with_module
from convsmith.cli.output import print_error, print_text
from convsmith.errors import UsageError

if TYPE_CHECKING:
    from convsmith.runs.grid import GridProgress


GridRecipe = Annotated[
    str | None,
    typer.Argument(metavar="RECIPE", help="name of a recipe, or a TOML file; none with --resume"),
]
Axes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE,VALUE,...]...",
        help="fields with their values, for example seed=0..4 train.optimizer.lr=0.01,0.03",
    ),
]
Resume = Annotated[
    Path | None, typer.Option("--resume", metavar="GRID", help="Go on with the grid of this folder.")
]
AcceptChanges = Annotated[
    bool, typer.Option("--accept-changes", help="With --resume: also if machine or versions differ.")
]


def grid(
    recipe: GridRecipe = None,
    axes: Axes = None,
    *,
    on: On = "loky",
    workers: Workers = None,
    module: Module = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="parent of the grid's folder")] = Path("runs"),
    resume: Resume = None,
    accept_changes: AcceptChanges = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to more than 1,000 runs.")] = False,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Train a recipe with every combination of values, on several workers; compare the runs."""
    from convsmith.cli.progress import GridTable

    with closing(GridTable(print_error if as_json else print_text)) as table:
        watch = _ignore if as_json else table.watch
        if resume is not None:
            _check_resume(recipe, axes)
            result = cs.resume_grid(
                resume,
                on=on or "loky",
                workers=workers,
                accept_changes=accept_changes,
                log=table.log,
                watch=watch,
                trust_code=trust_code,
            )
        else:
            if recipe is None:
                raise UsageError("no recipe", where="grid", fix="name one, or --resume GRID")
            result = cs.grid(
                cs.load_recipe(recipe, *with_module(None, module)),
                *(axes or []),
                on=on or "loky",
                workers=workers,
                runs=runs,
                many=yes,
                log=table.log,
                watch=watch,
                trust_code=trust_code,
            )
    if as_json:
        print_text(json.dumps({"folder": str(result.folder), "runs": result.records()}, indent=2))
        return
    print_text(f"Table: {result.table}")
    if result.comparison:
        print_text(f"Report: {result.comparison.page}")


def _check_resume(recipe: str | None, axes: list[str] | None) -> None:
    if recipe is not None or axes:
        raise UsageError(
            "a grid goes on with its own recipe and values",
            where="--resume",
            fix="leave out the recipe, or start a new grid without --resume",
        )


def _ignore(read: "Callable[[], GridProgress]") -> None:
    del read
