"""Print predictions as they arrive, as lines or JSON, and write them to CSV and JSON Lines files."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track

import convsmith as cs
from convsmith.cli.output import print_error, print_text
from convsmith.errors import UsageError
from convsmith.models.classifier import Prediction, UnreadableImage, unreadable_error
from convsmith.models.prediction_rows import COLUMNS, PredictionResult, csv_line
from convsmith.system import files, paths
from convsmith.text import csv_row, plural

Sink = Callable[[PredictionResult], None]
# With fewer images a progress bar would vanish at once.
_MIN_BAR_IMAGES = 50


def print_predictions(
    results: Iterable[PredictionResult],
    count: int,
    *,
    csv_file: Path | None,
    jsonl_file: Path | None,
    as_json: bool,
) -> bool:
    """Print predictions as they arrive and write them to files. Only unreadable images are kept in memory.

    Args:
        results: Predictions for `count` images.
        count: The total of the progress bar.
        csv_file: A file with one row per image.
        jsonl_file: A file with one JSON object per line and image.
        as_json: Print a JSON list instead of lines.

    Returns:
        Whether all images could be read. Standard error names the others.

    Raises:
        FileError: A file cannot be written.
    """
    unreadable: list[UnreadableImage] = []
    with ExitStack() as stack:
        sinks = _files(stack, csv_file, jsonl_file)
        if as_json:
            sinks.append(stack.enter_context(_json_list()))
        elif not sinks:
            sinks.append(_print_line)
        for result in _with_progress_bar(results, count, lines=_print_line in sinks):
            if isinstance(result, UnreadableImage):
                unreadable.append(result)
            for sink in sinks:
                sink(result)
    for path in (csv_file, jsonl_file):
        if path and not as_json and not paths.is_stream(path):
            print_text(str(path))
    if unreadable:
        print_error(str(unreadable_error(unreadable)))
    return not unreadable


def check_tables(out: Path | None, options: Mapping[str, object], others: Mapping[str, object]) -> None:
    """Refuse options that have no effect with, or without, a folder of tables.

    Args:
        out: The folder, if there is one.
        options: Of tables, with their values.
        others: Options of other files, with their values.
    """
    given = [name for name, value in (others if out else options).items() if value is not None]
    if given:
        raise UsageError(
            "a folder of tables has no other files" if out else "these belong to a folder of tables",
            where=", ".join(given),
            fix="write --format csv for tables of this kind" if out else "add --out DIR",
        )


def print_tables(record: "cs.PredictionsRecord", out: Path, *, as_json: bool) -> bool:
    """Print what a folder of tables has, its record or a line; return whether all images could be read."""
    print_text(record.model_dump_json(indent=2) if as_json else f"{out}: {record.line()}")
    if record.unreadable:
        print_error(f"{plural(record.unreadable, 'image')} could not be read: see the column `error`")
    return not record.unreadable


def _files(stack: ExitStack, csv_file: Path | None, jsonl_file: Path | None) -> list[Sink]:
    """Open the requested files and return the functions that write to them."""
    sinks: list[Sink] = []
    if csv_file:
        write = stack.enter_context(files.atomic_text(csv_file))
        write(csv_row(COLUMNS))
        sinks.append(lambda result: write(csv_line(result)))
    if jsonl_file:
        append = stack.enter_context(files.atomic_text(jsonl_file))
        sinks.append(lambda result: append(json.dumps(result.record(), allow_nan=False) + "\n"))
    return sinks


def _print_line(result: PredictionResult) -> None:
    if isinstance(result, Prediction):
        print_text(repr(result))


@contextlib.contextmanager
def _json_list() -> Iterator[Sink]:
    """Print a JSON list item by item, so that it need not fit in memory."""
    before = "[\n  "

    def write(result: PredictionResult) -> None:
        nonlocal before
        sys.stdout.write(before + json.dumps(result.record(), allow_nan=False))
        before = ",\n  "

    yield write
    sys.stdout.write("\n]\n" if before.startswith(",") else "[]\n")


def _with_progress_bar(
    results: Iterable[PredictionResult], count: int, *, lines: bool
) -> Iterable[PredictionResult]:
    """Show a progress bar on standard error if it is a terminal and standard output shows no lines there."""
    if count < _MIN_BAR_IMAGES or not sys.stderr.isatty() or (lines and sys.stdout.isatty()):
        return results
    console = Console(stderr=True)
    return track(results, "Predicting", total=count, console=console, transient=True)
