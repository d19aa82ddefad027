"""Judge nets by briefs: check."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convsmith.cli.arguments import AsJson, AsMarkdown, InputShape, TargetArgument, TrustCode
from convsmith.cli.output import print_error, print_text
from convsmith.errors import ConvsmithError, RecipeError, StoppedError
from convsmith.system import files, paths

if TYPE_CHECKING:
    from convsmith.api.check import Judgements, Training
    from convsmith.briefs.judgement import Judgement

# A field of a recipe, or a setting, among nets: no name of a net begins so.
_FIELD = re.compile(r"[A-Za-z_][\w.-]*\s*=")


_More = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NET]... [KEY=VALUE]...",
        help="more nets, such as the steps of a hand-in, and fields of the recipe, for example seed=3",
    ),
]
_Brief = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="name or TOML file of a brief; by default the recipe's brief"),
]
_Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Evaluate these weights on the test images of the data, so that checks of the accuracy apply; "
        "one file for each net.",
    ),
]
_Data = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE|RECIPE", help="the data set of the weights, or for the shape of its images only"
    ),
]
_Train = Annotated[
    bool,
    typer.Option("--train", help="Train the net by the rules of the brief, and judge its last epochs."),
]
_Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help="With --train: the recipe of all other settings; by default the library's for the brief.",
    ),
]
_Runs = Annotated[Path, typer.Option(metavar="DIR", help="With --train: folder for the run folder.")]
_Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as Markdown.")]
_JUnit = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as JUnit XML.")]


def check(
    target: TargetArgument,
    overrides: _More = None,
    *,
    brief: _Brief = None,
    weights: _Weights = None,
    data: _Data = None,
    input_shape: InputShape = None,
    train: _Train = False,
    recipe: _Recipe = None,
    runs: _Runs = Path("runs"),
    report: _Report = None,
    junit: _JUnit = None,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
    trust_code: TrustCode = False,
) -> None:
    """Judge networks by a brief; exit with code 1 if a check fails.

    In GitHub Actions the verdicts are also annotations, and a table in the summary of the step.
    """
    from convsmith.modules.access import CodeAccess

    names = [target, *(each for each in overrides or [] if not _FIELD.match(each))]
    fields = [each for each in overrides or [] if _FIELD.match(each)]
    _check_outputs([each for each in (report, junit) if each], [*names, *(weights or []), brief or ""])
    with _training(recipe, runs, is_on=train, is_quiet=as_json or as_markdown) as training:
        result = _judge(
            names,
            weights or [],
            fields,
            brief=brief,
            data=data,
            input_shape=input_shape or None,
            training=training,
            access=CodeAccess(trust=trust_code),
        )
    for note in result.notes:
        print_error(note)
    if as_json:
        _print_json(result.judgements)
    elif as_markdown:
        _print_markdown(result.judgements)
    else:
        _print_lines(result.judgements)
    _show_on_github(result.judgements, to_output=not as_json and not as_markdown)
    for error in result.errors:
        print_error(str(error))
    # Last: a report that cannot be written hides nothing.
    _write_reports(result.judgements, brief or "", report, junit)
    if result.errors:
        raise typer.Exit(max(error.exit_code for error in result.errors))
    if not all(each.passed for each in result.judgements):
        raise typer.Exit(1)


@contextmanager
def _training(recipe: str | None, runs: Path, *, is_on: bool, is_quiet: bool) -> "Iterator[Training | None]":
    """Return how nets are trained, with their progress on standard output."""
    if not is_on:
        if recipe:
            raise RecipeError("this goes with --train", where=f"--recipe {recipe}", fix="add --train")
        yield None
        return
    from convsmith.api.check import Training
    from convsmith.cli.console import progress_callback

    if is_quiet:
        yield Training(recipe=recipe, runs=runs)
        return
    with closing(progress_callback()) as callback:
        yield Training(recipe=recipe, runs=runs, callbacks=(callback,))


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[str]) -> None:
    """Raise FileError for an output that is an input, and for a folder that does not exist."""
    from convsmith.models.resolve import model_files

    paths.check_outputs(outputs, [path for each in inputs for path in model_files(each)])


def _judge(
    names: Sequence[str], weights: Sequence[str], fields: Sequence[str], **arguments: Any
) -> "Judgements":
    """Judge nets; an error of the command itself, such as an unknown brief, is reported like one of a net."""
    from convsmith.api.check import CheckOptions, Judgements, judge_nets
    from convsmith.briefs.judgement import Judgement
    from convsmith.net.rows import Location

    place = arguments["brief"] or ""
    try:
        options = CheckOptions.of(fields, **arguments)
        place = ""
        return judge_nets(names, options, weights)
    except StoppedError:
        raise
    except ConvsmithError as error:
        definition = Location(file=place, line=1) if place.endswith(".toml") else None
        failed = Judgement(name=place or names[0], definition=definition, error=error)
        return Judgements(judgements=(failed,), notes=())


def _print_lines(judgements: "Sequence[Judgement]") -> None:
    from convsmith.briefs.verdicts import hint_lines, verdict_lines

    for number, each in enumerate(judgements):
        if each.error:
            continue
        if len(judgements) > 1:
            separator = "\n" if number else ""
            print_text(f"{separator}{each.name}: {each.outcome}")
        for remark in each.remarks:
            print_text(remark)
        for line in [*verdict_lines(each.checks), *hint_lines(each.hints)]:
            print_text(line)
        if not each.checks:
            print_text(f"{each.name} has no brief: nothing to check; name one with --brief")


def _print_json(judgements: "Sequence[Judgement]") -> None:
    from convsmith.briefs.verdicts import verdict_record

    records = [
        {"name": each.name, **verdict_record(each.checks, each.hints)}
        for each in judgements
        if not each.error
    ]
    if len(judgements) == 1:
        value: Any = records[0] if records else None
    else:
        value = {"passed": all(each.passed for each in judgements), "nets": records}
    if value is not None:
        print_text(json.dumps(value, indent=2))


def _print_markdown(judgements: "Sequence[Judgement]") -> None:
    from convsmith.briefs.markdown import markdown_report
    from convsmith.briefs.verdicts import verdict_table

    if len(judgements) == 1 and not judgements[0].error:
        print_text(verdict_table(judgements[0].checks))
    elif len(judgements) > 1:
        print_text(markdown_report(judgements).removesuffix("\n"))


def _write_reports(
    judgements: "Sequence[Judgement]", brief: str, report: Path | None, junit: Path | None
) -> None:
    if report:
        from convsmith.briefs.markdown import markdown_report

        title = f"Checks by {brief}" if brief else "Checks"
        files.write_text(report, markdown_report(judgements, title))
    if junit:
        from convsmith.briefs.junit import junit_xml

        files.write_text(junit, junit_xml(judgements, brief))


def _show_on_github(judgements: "Sequence[Judgement]", *, to_output: bool) -> None:
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from convsmith.reports.github import annotations, append_summary

    # The runner reads both streams; JSON and Markdown stay alone on standard output.
    show = print_text if to_output else print_error
    for line in annotations(judgements):
        show(line)
    if problem := append_summary(judgements):
        print_error(problem)
