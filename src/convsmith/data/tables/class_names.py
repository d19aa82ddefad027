"""Names of classes that are known by numbers: from a file such as `classes.txt`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.storage import Files
from convsmith.data.labels import canonical_name
from convsmith.data.raw import RawData, RawSplit, is_class_index
from convsmith.data.tables.text import TABLE_SUFFIXES, read_tables
from convsmith.errors import DataError

# The words that the name of such a file consists of, the most telling first.
_TELLING = ("classes", "class", "classnames", "signnames", "names", "categories", "category")
_WORDS = {*_TELLING, "name", "labels", "label", "labelmap", "synset", "synsets", "words", "map", "mapping"}
_WORDS |= {"dict", "index", "indices", "list", "id", "ids", "to", "of", "the"}
_NUMBERED = re.compile(r"\W*(\d+)\W*[\s,;:=]\W*(.*?)\W*")


def with_class_names(files: Files, raw: RawData) -> RawData:
    """Return a data set whose classes are plain numbers with the names that a file gives them.

    The classes are then in the order of their numbers.

    Raises:
        DataError: The file has no name for a class, or one name for two.
    """
    if not raw.class_names or not all(name.isdecimal() for name in raw.class_names):
        return raw
    numbers = [int(name) for name in raw.class_names]
    for path in _candidates(files):
        names = _names(files, path, numbers)
        if names is None:
            continue
        _check(files, path, numbers, names)
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        place = {old: new for new, old in enumerate(order)}
        found = tuple(names[numbers[old]] for old in order)
        folders = {names[number]: folder for number, folder in zip(numbers, raw.class_names, strict=True)}
        splits = {name: _renamed(split, place, folders) for name, split in raw.splits.items()}
        ignored = {file: reason for file, reason in raw.ignored.items() if file != str(path)}
        return replace(
            raw,
            splits=splits,
            class_names=found,
            ignored=ignored,
            notes=(*raw.notes, f"the names of the classes are from {path}"),
            description=f"{raw.description}, names of the classes in {path}",
        )
    return raw


def may_name_classes(path: PurePosixPath) -> bool:
    """Return whether a file is named like one that names the classes.

    >>> may_name_classes(PurePosixPath("meta/class_names.txt")), may_name_classes(PurePosixPath("train.txt"))
    (True, False)
    """
    return path.suffix.lower() in TABLE_SUFFIXES and bool(_words(path)) and set(_words(path)) <= _WORDS


def _words(path: PurePosixPath) -> list[str]:
    return [word for word in re.split(r"[\W_\d]+", path.stem.lower()) if word]


def _candidates(files: Files) -> list[PurePosixPath]:
    found = []
    for path in filter(may_name_classes, files.files):
        words = set(_words(path))
        telling = next((place for place, word in enumerate(_TELLING) if word in words), len(_TELLING))
        if not files.unread_reason(path):
            found.append((telling, len(path.parts), path))
    return [path for _, _, path in sorted(found)]


def _names(files: Files, path: PurePosixPath, numbers: Sequence[int]) -> dict[int, str] | None:
    """Return the name of each number in a file; None if the file has none."""
    tables = read_tables(files, path)
    if not tables:
        return None
    for table in tables:
        rows = [list(row) for row in ([table.header] if table.header and table.unit == "line" else [])]
        pairs = [_pair(row) for row in (*rows, *table.rows) if len(row) == 2]
        known = {pair[0]: canonical_name(pair[1]) for pair in pairs if pair}
        # One row may be a header; a word before numbers, as in `class 0`, is no name.
        if len(table.rows) <= len(known) + 1 and set(numbers) & set(known) and len(set(known.values())) > 1:
            return known
    lines = [str(row[0]) for row in tables[0].rows if len(row) == 1 and row[0] is not None]
    if len(lines) < len(tables[0].rows) or not lines:
        return None
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if all(matches):
        return {int(each[1]): canonical_name(each[2]) for each in matches if each}
    return _by_line(lines, numbers)


def _pair(row: Sequence[Any]) -> tuple[int, str] | None:
    """Return the number and the name of a row, in either order."""
    one, other = (str(cell).strip() if cell is not None else "" for cell in row)
    if one.isdecimal() and other:
        return int(one), other
    return (int(other), one) if other.isdecimal() and one else None


def _by_line(lines: Sequence[str], numbers: Sequence[int]) -> dict[int, str] | None:
    """Return the names of numbers by the order of lines, from 0, or from 1 if only that fits."""
    highest = max(numbers)
    if highest < len(lines):
        return dict(enumerate(map(canonical_name, lines)))
    return (
        dict(enumerate(map(canonical_name, lines), 1)) if highest == len(lines) and min(numbers) > 0 else None
    )


def _check(files: Files, path: PurePosixPath, numbers: Sequence[int], names: Mapping[int, str]) -> None:
    lacking = [number for number in sorted(numbers) if number not in names]
    if lacking:
        raise DataError(
            f"found no name for {len(lacking):,} of {len(numbers):,} classes, the first is {lacking[0]}",
            where=f"{files.location}/{path}",
            fix="write each number with its name in a line, such as 0,cat, or move the file away",
        )
    used = [names[number] for number in sorted(numbers)]
    if len(set(used)) < len(used):
        name = next(name for name in used if used.count(name) > 1)
        both = [str(number) for number in sorted(numbers) if names[number] == name]
        raise DataError(
            f"found one name for the classes {' and '.join(both)}: {name!r}",
            where=f"{files.location}/{path}",
            fix="give each class a name of its own, or move the file away",
        )


def _renamed(split: RawSplit, place: Mapping[int, int], folders: Mapping[str, str]) -> RawSplit:
    labels = [place.get(label, label) if is_class_index(label) else label for label in split.labels]
    return replace(split, labels=labels, folder_names=folders)
