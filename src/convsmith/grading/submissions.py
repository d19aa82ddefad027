"""The submissions of a class: the sub-folders of a folder, or the rows of a CSV file."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from convsmith.errors import FileError, Problem, suggest
from convsmith.grading.record import Hints
from convsmith.system import paths, reading
from convsmith.text import one_line, plural

_COLUMNS = ("name", "path", "net", "weights")
_MAX_CSV = 2**22
# What archives and editors leave behind.
_LITTER = {"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini"}
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_NETS_BETWEEN = ";"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One submission.

    Attributes:
        name: In the table: the name of its folder, or of its row.
        path: Its folder.
        hints: The net and the weights that the teacher named.
        is_starter: Whether it is the code that was handed out, which has no row.
        problem: Why it cannot be judged, such as a folder that does not exist; empty if it can.
        fix: What the teacher can do about it.
    """

    name: str
    path: Path
    hints: Hints = field(default_factory=Hints)
    is_starter: bool = False
    problem: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Submissions:
    """The submissions of a class, and notes on what is not one."""

    submissions: tuple[Submission, ...]
    notes: tuple[str, ...] = ()


def find_submissions(place: Path) -> Submissions:
    """List the submissions of a class, in the natural order of their names: "team 2" before "team 10".

    Args:
        place: A folder whose sub-folders are submissions, or a CSV file with the columns `name` and `path`
            and, where needed, `net` (`model.py:Net`; several separated by semicolons) and `weights`. Paths
            are relative to the CSV file.

    Raises:
        FileError: There is no such folder or file, the CSV has other columns, or nothing is a submission.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("team 10", "team 2", "__MACOSX"):
        ...     (folder / name).mkdir()
        >>> [each.name for each in find_submissions(folder).submissions]
        ['team 2', 'team 10']
    """
    if paths.is_folder(place):
        return with_own_names(_of_folder(place))
    if not paths.exists(place):
        fix = "name a folder with a sub-folder for each submission, or a CSV file with name and path"
        raise FileError("no such folder", where=str(place), fix=fix)
    return with_own_names(Submissions(submissions=tuple(_of_csv(place))))


def with_own_names(submissions: Submissions) -> Submissions:
    """Number the submissions whose names look alike once control characters and long ends are replaced.

    >>> alike = Submission(name="a?", path=Path("a")), Submission(name="a?", path=Path("b"))
    >>> [each.name for each in with_own_names(Submissions(submissions=alike)).submissions]
    ['a?', 'a? (2)']
    """
    names: dict[str, Submission] = {}
    for each in submissions.submissions:
        name, number = each.name, 1
        while name in names:
            number += 1
            name = f"{each.name} ({number})"
        names[name] = replace(each, name=name)
    return replace(submissions, submissions=tuple(names.values()))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that orders numbers in names by their values.

    >>> sorted(["a10", "a9", "B1"], key=natural)
    ['a9', 'a10', 'B1']
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part) if index % 2 else 0, part) for index, part in enumerate(parts)]


def _of_folder(place: Path) -> Submissions:
    submissions, notes = [], []
    files = []
    for path in sorted(paths.children(place), key=lambda each: natural(each.name)):
        name = one_line(path.name)
        if path.name.startswith(".") or path.name in _LITTER:
            continue
        if path.is_symlink():
            # A link may lead out of the class, into another submission or into the teacher's files.
            submissions.append(
                Submission(
                    name=name,
                    path=path,
                    problem="the submission is a link",
                    fix="put the folder itself here, or name its place in a CSV file",
                )
            )
        elif path.is_dir():
            submissions.append(Submission(name=name, path=path))
        elif path.name.lower().endswith(_ARCHIVES):
            submissions.append(
                Submission(
                    name=name,
                    path=path,
                    problem="the submission is an archive",
                    fix="unpack it into a folder of its own",
                )
            )
        else:
            files.append(name)
    if files:
        listed = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        notes.append(f"{plural(len(files), 'file')} beside the folders of the submissions: {listed}")
    if not submissions:
        inside = any(name.endswith((".py", ".ipynb")) for name in files)
        fix = f"this looks like one submission: name the folder above it, {place.resolve().parent}"
        raise FileError(
            "no sub-folder, expected one for each submission",
            where=str(place),
            fix=fix if inside else "put each submission into a sub-folder",
        )
    return Submissions(submissions=tuple(submissions), notes=tuple(notes))


def _of_csv(place: Path) -> Iterator[Submission]:
    rows = _rows(place)
    counts = Counter(row["name"] for _, row in rows)
    problems = [
        Problem(what=f"{counts[row['name']]} rows have the name {one_line(row['name'])!r}", where=where)
        for where, row in rows
        if counts[row["name"]] > 1
    ]
    problems += [
        Problem(what=f"the {column} is missing", where=where)
        for where, row in rows
        for column in ("name", "path")
        if not row[column]
    ]
    if problems:
        raise FileError.of(problems[:5])
    for _, row in sorted(rows, key=lambda pair: natural(one_line(pair[1]["name"]))):
        path = place.parent / row["path"]
        nets = tuple(each.strip() for each in row["net"].split(_NETS_BETWEEN) if each.strip())
        problem = _missing(path, row["path"])
        yield Submission(
            name=one_line(row["name"]),
            path=path,
            hints=Hints(nets=nets, weights=row["weights"]),
            problem=problem,
            fix=f"correct the path in {place.name}" if problem else "",
        )


def _missing(path: Path, written: str) -> str:
    try:
        return "" if paths.is_folder(path) else f"no such folder: {one_line(written)}"
    except FileError as error:
        return f"{one_line(written)}: {error.problems[0].what}"


def _rows(place: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV file with their places; columns that are absent are empty."""
    text = reading.read_text(place, _MAX_CSV)
    try:
        # Spreadsheets in some languages write semicolons.
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip().casefold() for name in reader.fieldnames or []]
        reader.fieldnames = header
        rows = [(f"{place}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise FileError(f"not valid CSV: {error}", where=str(place)) from error
    missing = [name for name in ("name", "path") if name not in header]
    if missing:
        columns = ", ".join(one_line(name) for name in header[:8])
        raise FileError(
            f"the column {missing[0]!r} is missing; found {columns or 'none'}",
            where=f"{place}, line 1",
            fix="write the columns name,path and, where needed, net,weights"
            if len(missing) > 1 or not header
            else suggest(missing[0], header),
        )
    if not rows:
        raise FileError("no rows, expected one for each submission", where=str(place))
    return [
        (where, {name: str(row.get(name) or "").strip() for name in _COLUMNS})
        for where, row in rows
        if any(isinstance(value, str) and value.strip() for value in row.values())
    ]
