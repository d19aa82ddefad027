"""Commands for trained models: export, eject, hand-in."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

import convsmith as cs
from convsmith.cli.arguments import (
    Data,
    InputShape,
    Overrides,
    RunArgument,
    TrustCode,
    Weights,
    resolve,
)
from convsmith.cli.output import notes_printer, print_error, print_text
from convsmith.errors import RecipeError
from convsmith.system import paths


def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE|NAME|NET|RECIPE",
            help="a run, a bundle or a zoo model; with --weights a module such as model.py:Net, notation or "
            "a recipe; for --code also notation or a recipe, without trained weights",
        ),
    ],
    overrides: Overrides = None,
    *,
    weights: Weights = None,
    data: Data = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a bundle: everything that prediction needs.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an ONNX file, after comparing it with PyTorch.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With --onnx: quantize to 8 bits.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGES", help="With --onnx: compare on these instead of the test images."),
    ] = None,
    code: Annotated[bool, typer.Option("--code", help="Write model.py, plain PyTorch.")] = False,
    input_shape: InputShape = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for --code; by default exported")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Export a model as a bundle, as ONNX, or as plain PyTorch code."""
    folder = out or Path("exported")
    of_onnx, of_code = bool(int8 or images), bool(out or input_shape)
    _check_outputs(bundle, onnx, folder if code else None, of_onnx=of_onnx, of_code=of_code)
    _check_fields(overrides, input_shape, from_file=bool(weights), trained=bool(bundle or onnx))
    fields = overrides or [] if weights else []
    more: dict[str, Any] = {"replace": force, "trust_code": trust_code, "log": notes_printer()}
    more |= {"weights": weights, "data": data}
    if code:
        model = target if weights else _model(target, overrides, input_shape, trust_code=trust_code)
        for path in cs.export(model, folder, *fields, **more):
            print_text(str(path))
    if bundle:
        print_text(str(cs.export_bundle(target, bundle, *fields, **more)))
    if onnx:
        parity = cs.export_onnx(target, onnx, *fields, int8=int8, images=images or (), **more)
        _print_parity(onnx, parity)


def _model(
    target: str, overrides: list[str] | None, input_shape: list[str] | None, *, trust_code: bool
) -> "cs.Model":
    model = resolve(target, overrides, input_shape, prefer="zoo", trust_code=trust_code)
    for note in model.notes:
        print_error(note)
    return model


def _check_fields(
    overrides: list[str] | None, input_shape: list[str] | None, *, from_file: bool, trained: bool
) -> None:
    """Refuse fields of recipes, and sizes, that would have no effect."""
    if from_file and input_shape:
        fix = "leave it out, or resize the data: data.resize=32"
        raise RecipeError("the size of the images is that of the data", where="--input", fix=fix)
    if overrides and trained and not from_file:
        raise RecipeError(
            "a trained model cannot be changed", where=overrides[0], fix="train it with this setting first"
        )


def _print_parity(onnx: Path, parity: "cs.Parity") -> None:
    # The file itself may go to standard output.
    show = print_error if paths.is_stream(onnx) else print_text
    for line in (*parity.lines(), str(onnx)):
        show(line)


def _check_outputs(
    bundle: Path | None, onnx: Path | None, code: Path | None, *, of_onnx: bool, of_code: bool
) -> None:
    """Refuse options of outputs that are not written, no output at all, and two in one folder."""
    if of_onnx and not onnx:
        raise RecipeError("these go with --onnx FILE", where="--int8, --images", fix="add --onnx model.onnx")
    if not (bundle or onnx or code):
        fix = "add --bundle DIR, --onnx FILE, or --code for model.py"
        raise RecipeError("nothing to write", where="export", fix=fix)
    if of_code and not code:
        raise RecipeError("these go with --code", where="--out, --input", fix="add --code, or leave them out")
    if bundle and code and bundle.resolve() == code.resolve():
        fix = "name another folder for --code with --out"
        raise RecipeError("a bundle has a folder of its own", where=str(bundle), fix=fix)


def eject(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new or empty folder")],
    *,
    notebook: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="such as S5.ipynb; by default the name of the run"),
    ] = None,
    execute: Annotated[
        bool, typer.Option(help="run the notebook once, so that it has outputs; nothing is trained")
    ] = True,
    trust_code: TrustCode = False,
    layout: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Write a run as a plain PyTorch project: code, weights, log, plots, notebook, README."""
    if layout:
        raise RecipeError(
            "eject has one layout now; `convsmith hand-in` writes model.py and utils.py",
            where="--layout",
            fix=f"convsmith hand-in {quote(str(run))} --out {quote(str(folder))}"
            if layout == "flat"
            else "leave out --layout",
        )
    written = cs.eject(
        run,
        folder,
        notebook=notebook,
        execute=execute,
        trust_code=trust_code,
        log=print_error,
    )
    for path in written:
        print_text(str(path))


def hand_in(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="the runs, in the order of the steps")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="a new or empty folder")],
    brief: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="the brief of the task; by default that of the last run"),
    ] = None,
    notebook: Annotated[
        str, typer.Option(metavar="NAME", help="file name of the notebook, such as S7.ipynb")
    ] = "notebook.ipynb",
    execute: Annotated[
        bool, typer.Option(help="run the notebook once, so that it has outputs; nothing is trained")
    ] = True,
    trust_code: TrustCode = False,
) -> None:
    """Write runs as the repository of an assignment: Model_1, Model_2, ..., notebook, README, graphs, logs.

    Exit with code 1 if a check of the brief fails.
    """
    from convsmith.briefs.verdicts import verdict_lines

    written = cs.hand_in(
        runs, out, brief=brief, notebook=notebook, execute=execute, trust_code=trust_code, log=print_error
    )
    for path in written.files:
        print_text(str(path))
    checks = written.verdicts.checks
    for line in verdict_lines(checks):
        print_text(line)
    if not written.verdicts.passed:
        raise typer.Exit(1)
