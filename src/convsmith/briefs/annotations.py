"""Annotations of GitHub Actions: workflow commands that GitHub shows at a line of a file.

The form is that of GitHub's page "Workflow commands for GitHub Actions", escaped as by its toolkit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from convsmith.briefs.hints import grouped
from convsmith.briefs.judgement import Judgement
from convsmith.modules.definition import place_in
from convsmith.net.rows import Location
from convsmith.text import plural, printable

# GitHub shows so many of each level for one step.
MOST = 10
_LEVELS = ("error", "warning", "notice")
_MAX_MESSAGE = 2_000
_NOTEBOOK = ".ipynb"
# How a remark begins that casts doubt on a figure.
_WARNING = "warning:"


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation.

    Attributes:
        level: An error for a failed check, a warning for what was not checked, a notice for a hint.
        title: What it is about, in a few words.
        message: The text; it may have several lines.
        location: The line of the file; None for the whole step.
    """

    level: Literal["error", "warning", "notice"]
    title: str
    message: str
    location: Location | None = None


def annotation_lines(judgements: Sequence[Judgement], workspace: Path | None = None) -> list[str]:
    """Return the workflow commands of judgements: at most ten of each level, the gravest first.

    A net that could not be judged comes first, then the failed checks in the order of the brief. If there are
    more than ten, the tenth names the rest.

    Args:
        judgements: Of all nets of the step.
        workspace: The root of the repository; a file outside it is not named.

    Example:
        >>> from convsmith.errors import ModuleError
        >>> net = Judgement(name="model.py:Net", error=ModuleError("no such class", where="model.py"))
        >>> annotation_lines([net])
        ['::error title=model.py%3ANet cannot be judged::error[E022]: model.py: no such class']
    """
    several = len(judgements) > 1
    lines = []
    for level in _LEVELS:
        chosen = [each for each in _annotations(judgements, several=several) if each.level == level]
        lines += [command(each, workspace) for each in _limited(chosen)]
    return lines


def command(annotation: Annotation, workspace: Path | None = None) -> str:
    r"""Return an annotation as a workflow command.

    Example:
        >>> at = Location(file="nets/model.py", line=7)
        >>> command(Annotation(level="error", title="MACs, all", message="100 %\nfix: less", location=at))
        '::error file=nets/model.py,line=7,title=MACs%2C all::100 %25%0Afix: less'
    """
    properties = {"title": annotation.title}
    if (location := annotation.location) and (file := _in_repository(location.file, workspace)):
        # The lines of a notebook are those of its cells, not of the file.
        line = {} if file.endswith(_NOTEBOOK) else {"line": str(location.line)}
        properties = {"file": file, **line, **properties}
    text = ",".join(f"{name}={_escaped_property(value)}" for name, value in properties.items() if value)
    message = annotation.message
    if location and location.cell:
        message += f"\nat cell {location.cell}, line {location.line}"
    shown = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."
    return f"::{annotation.level}{' ' if text else ''}{text}::{_escaped(shown)}"


def _annotations(judgements: Sequence[Judgement], *, several: bool) -> Iterator[Annotation]:
    for each in judgements:
        yield from _errors(each)
    # The first check of every net, then the second: the order of the brief.
    for rank in zip_longest(*(each.checks.failed for each in judgements)):
        for judgement, check in zip(judgements, rank, strict=True):
            if check is not None:
                message = f"found {check.actual}, required {check.required}"
                yield Annotation(
                    level="error",
                    title=f"{judgement.name}: {check.title}" if several else check.title,
                    message=f"{message}\nfix: {check.fix}" if check.fix else message,
                    location=judgement.place(check.location),
                )
    for each in judgements:
        yield from _remarks(each)


def _remarks(each: Judgement) -> Iterator[Annotation]:
    """Yield what does not fail a net: what was not checked, doubtful figures, hints."""
    if each.unknown:
        names = ", ".join(f"{check.title} ({check.actual})" for check in each.unknown)
        yield Annotation(level="warning", title=f"{each.name}: not checked", message=names)
    elif not each.checks and not each.error:
        yield Annotation(level="warning", title=each.name, message="no brief: nothing was checked")
    for remark in each.remarks:
        if remark.startswith(_WARNING):
            message = remark.removeprefix(_WARNING).strip()
            yield Annotation(level="warning", title=each.name, message=message)
    for hint in grouped(each.hints):
        yield Annotation(
            level="notice",
            title=hint.topic,
            message=f"{hint.layer}: {hint.what}",
            location=each.place(hint.location),
        )


def _errors(judgement: Judgement) -> Iterator[Annotation]:
    """Yield why a net could not be judged, at the line that the error names."""
    if judgement.error is None:
        return
    for problem in judgement.error.problems:
        text = problem.text(judgement.error.code)
        yield Annotation(
            level="error",
            title=f"{judgement.name} cannot be judged",
            message=text,
            location=place_in(text) or judgement.definition,
        )


def _limited(annotations: Sequence[Annotation]) -> Sequence[Annotation]:
    """Keep what GitHub shows: the last one names the rest."""
    if len(annotations) <= MOST:
        return annotations
    rest = annotations[MOST - 1 :]
    title = f"{plural(len(rest), 'more annotation')} of this kind"
    names = Annotation(level=rest[0].level, title=title, message="; ".join(each.title for each in rest))
    return [*annotations[: MOST - 1], names]


def _in_repository(file: str, workspace: Path | None) -> str:
    """Return the path of a file from the root of the repository; empty for a file outside."""
    if workspace is None:
        return file
    try:
        return Path(file).resolve().relative_to(workspace.resolve()).as_posix()
    except (OSError, ValueError):
        return ""


def _escaped(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
