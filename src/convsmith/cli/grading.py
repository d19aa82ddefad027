"""The command for a class of submissions: grade."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import convsmith as cs
from convsmith.cli.output import print_error, print_text

if TYPE_CHECKING:
    from convsmith.grading.record import SubmissionRecord
    from convsmith.grading.table import TableRow

# Characters of a table in a pipe.
_WIDTH = 160


Place = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|CSV",
        help="a folder with a sub-folder for each submission, or a CSV file with name,path[,net,weights]",
    ),
]
BriefOption = Annotated[
    str, typer.Option("--brief", metavar="NAME|FILE", help="name or TOML file of a brief")
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="RECIPE", help="whose data are the images; by default that of the brief"
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for table, page and records")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Judge only submissions that are new or have changed.")
]
Train = Annotated[bool, typer.Option("--train", help="Train each net anew by the rules of the brief.")]
Score = Annotated[bool, typer.Option("--score/--no-score", help="Score the weights of the submissions.")]
Starter = Annotated[
    list[Path] | None,
    typer.Option(
        "--starter", metavar="DIR", help="code that was handed out: what equals it is not pointed out"
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="submissions at a time; by default one a core"),
]
Time = Annotated[
    float | None,
    typer.Option("--time", metavar="SECONDS", min=1, help="for each submission: 120, or 3600 with --train"),
]
Memory = Annotated[float, typer.Option("--memory", metavar="GiB", min=0.25, help="memory of each submission")]
Disk = Annotated[
    float, typer.Option("--disk", metavar="GiB", min=0.01, help="size of a submission with what it writes")
]
Processes = Annotated[
    int, typer.Option("--processes", metavar="N", min=2, help="processes of a submission at a time")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="seed of the trainings")]


def grade(
    place: Place,
    *,
    brief: BriefOption,
    recipe: RecipeOption = None,
    out: Out = Path("graded"),
    resume: Resume = False,
    train: Train = False,
    score: Score = True,
    starter: Starter = None,
    jobs: Jobs = None,
    time: Time = None,
    memory: Memory = 4.0,
    disk: Disk = 1.0,
    processes: Processes = 64,
    seed: Seed = 0,
) -> None:
    """Judge a class of submissions by a brief, each in an isolated process; write a table and a page."""
    grades = cs.grade(
        place,
        brief=brief,
        recipe=recipe,
        out=out,
        resume=resume,
        train=train,
        score=score,
        starters=starter or (),
        jobs=jobs,
        time=time,
        memory=memory,
        disk=disk,
        processes=processes,
        seed=seed,
        on_start=_print_protection,
        on_record=_print_record,
    )
    _print_grades(grades)
    if not grades.complete:
        print_error("some submissions could not be run: convsmith grade --resume runs them again")
        raise typer.Exit(1)


def _print_grades(grades: "cs.Grades") -> None:
    for note in grades.notes:
        print_error(note)
    print_text(_table(grades.rows))
    for each in grades.sharings:
        if not each.is_weak:
            print_text(f"{', '.join(each.signs)}: {', '.join(each.names)}")
    print_text(f"{grades}\n{grades.folder / 'table.csv'}\n{grades.folder / 'index.html'}")


def _print_protection(lines: Sequence[str]) -> None:
    for line in lines:
        print_error(line)


def _print_record(record: "SubmissionRecord") -> None:
    """Print one line as soon as a submission is judged; the table comes at the end."""
    from convsmith.grading.table import result_of

    text = f"{record.submission}: {result_of(record)}"
    print_error(f"{text}, {record.problem}" if record.problem else text)


def _table(rows: "Sequence[TableRow]") -> str:
    """Format the table for the width of the terminal. Columns without a cell are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from convsmith.grading.table import HEADER
    from convsmith.text import printable

    cells = [row.cells() for row in rows]
    used = [number for number in range(len(HEADER)) if number < 2 or any(each[number] for each in cells)]
    table = Table(box=None, pad_edge=False)
    for number in used:
        table.add_column(HEADER[number], overflow="fold")
    for each in cells:
        # Rich would read brackets in a stranger's text as markup.
        table.add_row(*(Text(printable(each[number])) for number in used))
    width = None if sys.stdout.isatty() else _WIDTH
    console = Console(file=io.StringIO(), width=width or Console().width, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())
