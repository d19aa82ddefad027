"""Print predictions as they arrive, as lines or JSON, and write them to CSV and JSON Lines files."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from convsmith.cli.output import print_error, print_text
from convsmith.models.classifier import Prediction, UnreadableImage, unreadable_error
from convsmith.system import files, paths
from convsmith.text import csv_row, one_line

PredictionResult = Prediction | UnreadableImage
Sink = Callable[[PredictionResult], None]
# With fewer images a progress bar would vanish at once.
_MIN_BAR_IMAGES = 50
_COLUMNS = ("image", "label", "confidence", "unsure", "top", "error")


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
        Whether an image could not be read. Standard error names each.

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
    return bool(unreadable)


def _files(stack: ExitStack, csv_file: Path | None, jsonl_file: Path | None) -> list[Sink]:
    """Open the requested files and return the functions that write to them."""
    sinks: list[Sink] = []
    if csv_file:
        write = stack.enter_context(files.atomic_text(csv_file))
        write(csv_row(_COLUMNS))
        sinks.append(lambda result: write(csv_row(_cells(result))))
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


def _cells(result: PredictionResult) -> list[Any]:
    if isinstance(result, UnreadableImage):
        return [result.image, "", "", "", "", result.reason]
    top = "; ".join(f"{one_line(label)} {probability:.4f}" for label, probability in result.top)
    return [result.image, result.label, f"{result.confidence:.6f}", str(result.unsure).lower(), top, ""]


def _with_progress_bar(
    results: Iterable[PredictionResult], count: int, *, lines: bool
) -> Iterable[PredictionResult]:
    """Show a progress bar on standard error if it is a terminal and standard output shows no lines there."""
    if count < _MIN_BAR_IMAGES or not sys.stderr.isatty() or (lines and sys.stdout.isatty()):
        return results
    console = Console(stderr=True)
    return track(results, "Predicting", total=count, console=console, transient=True)
