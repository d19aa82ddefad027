"""What `predict` shows and writes as the answers come: lines, JSON, rows of a file; and a bar beside them."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from convsmith.cli.output import complain, say
from convsmith.models.classifier import Prediction, UnreadableImage, unreadable_error
from convsmith.system import files
from convsmith.text import csv_row

Answer = Prediction | UnreadableImage
Sink = Callable[[Answer], None]
# With fewer images a bar would be gone before it is seen.
_BAR_FROM = 50
_COLUMNS = ("image", "label", "confidence", "unsure", "top", "error")


def show(
    answers: Iterable[Answer], count: int, *, csv_file: Path | None, jsonl_file: Path | None, as_json: bool
) -> bool:
    """Show answers as they come, and write them to files; of those only what cannot be read is kept.

    Args:
        answers: Of `count` images.
        count: For the bar.
        csv_file: Gets a row an image.
        jsonl_file: Gets a JSON object an image.
        as_json: Print one JSON list instead of lines.

    Returns:
        Whether an image could not be read; standard error then names each.

    Raises:
        FileError: A file cannot be written.
    """
    unreadable: list[UnreadableImage] = []
    with ExitStack() as stack:
        sinks = _files(stack, csv_file, jsonl_file)
        if as_json:
            sinks.append(stack.enter_context(_json_list()))
        elif not sinks:
            sinks.append(_say)
        for answer in _with_bar(answers, count, lines=_say in sinks):
            if isinstance(answer, UnreadableImage):
                unreadable.append(answer)
            for sink in sinks:
                sink(answer)
    for path in (csv_file, jsonl_file):
        if path and not as_json:
            say(str(path))
    if unreadable:
        complain(str(unreadable_error(unreadable)))
    return bool(unreadable)


def _files(stack: ExitStack, csv_file: Path | None, jsonl_file: Path | None) -> list[Sink]:
    """What writes each answer into the files that are asked for."""
    sinks: list[Sink] = []
    if csv_file:
        write = stack.enter_context(files.atomic_text(csv_file))
        write(csv_row(_COLUMNS))
        sinks.append(lambda answer: write(csv_row(_cells(answer))))
    if jsonl_file:
        append = stack.enter_context(files.atomic_text(jsonl_file))
        sinks.append(lambda answer: append(json.dumps(answer.record()) + "\n"))
    return sinks


def line(answer: Prediction) -> str:
    """One line for a terminal.

    >>> line(Prediction(image="a.png", label="cat", confidence=0.9, unsure=False,
    ...                 top=(("cat", 0.9), ("dog", 0.06))))
    'a.png: cat 90.0 %, dog 6.0 %'
    """
    told = ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in answer.top)
    return f"{answer.image}: {'unsure: ' if answer.unsure else ''}{told}"


def _say(answer: Answer) -> None:
    if isinstance(answer, Prediction):
        say(line(answer))


@contextlib.contextmanager
def _json_list() -> Iterator[Sink]:
    """A list that is printed item by item, so that it need not fit in memory."""
    before = "[\n  "

    def write(answer: Answer) -> None:
        nonlocal before
        sys.stdout.write(before + json.dumps(answer.record()))
        before = ",\n  "

    yield write
    sys.stdout.write("\n]\n" if before.startswith(",") else "[]\n")


def _cells(answer: Answer) -> list[Any]:
    if isinstance(answer, UnreadableImage):
        return [answer.image, "", "", "", "", answer.reason]
    top = "; ".join(f"{label} {probability:.4f}" for label, probability in answer.top)
    return [answer.image, answer.label, f"{answer.confidence:.6f}", str(answer.unsure).lower(), top, ""]


def _with_bar(answers: Iterable[Answer], count: int, *, lines: bool) -> Iterable[Answer]:
    """A bar on standard error, where that is a terminal and no lines go to another one."""
    if count < _BAR_FROM or not sys.stderr.isatty() or (lines and sys.stdout.isatty()):
        return answers
    console = Console(stderr=True)
    return track(answers, "Predicting", total=count, console=console, transient=True)
