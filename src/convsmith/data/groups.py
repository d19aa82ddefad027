"""Groups of images that must not be split: by a column, or by a pattern of file names."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.labels import canonical_name
from convsmith.data.raw import RawSplit, Source
from convsmith.errors import DataError
from convsmith.text import one_line

# Between the parts of several parentheses; no file name has it.
_SEPARATOR = "\0"


def groups_of(split: RawSplit, group: str, source: Source) -> list[str]:
    """Return the group of each image.

    Args:
        split: From `read_source`.
        group: Of a table, the name of a column. Of a folder, a regular expression that is searched in each
            file's name, or in its path relative to the source if it has a slash; the group is what its
            parentheses match, or the whole match. Of images beside a table, a column of it, or an expression.
        source: For errors.

    Raises:
        DataError: There is no such column, an image has no group, or the expression is invalid.
    """
    has_column = split.column is not None and not (split.has_files and not _is_column(split, group))
    values = _column(split, group, source) if has_column else list(_matches(split, group, source))
    missing = [index for index, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise DataError(
            f"data.group={group!r} gives no group for {len(missing):,} of {len(values):,} images, "
            f"the first is {one_line(split.locations[missing[0]])}",
            where=source.location,
            fix="choose a column without empty cells"
            if has_column
            else r'match every file name, for example data.group="^([^_.]+)"',
        )
    return [str(value) for value in values]


def shown(group: str) -> str:
    """Return a group as text for messages."""
    return repr(group.replace(_SEPARATOR, " "))


def _is_missing(value: Any) -> bool:
    # NaN stands for a missing number in tables of pandas.
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _is_column(split: RawSplit, name: str) -> bool:
    try:
        return split.column is not None and split.column(name) is not None
    except KeyError:
        return False


def _column(split: RawSplit, name: str, source: Source) -> Sequence[Any]:
    assert split.column is not None
    try:
        return split.column(name)
    except KeyError as error:
        raise DataError(
            f"no column {name!r} for data.group", where=source.location, fix="name a column of the data set"
        ) from error


def _matches(split: RawSplit, pattern: str, source: Source) -> Iterator[str | None]:
    if not split.has_files:
        raise DataError(
            "data.group needs a column or file names", where=source.location, fix="remove data.group"
        )
    try:
        expression = re.compile(canonical_name(pattern))
    except re.error as error:
        raise DataError(
            f"not a regular expression: {error}",
            where=f"data.group={pattern!r}",
            fix=r'for example data.group="(\\w+)_\\d+"',
        ) from error
    for location in split.locations:
        # The same name can have composed letters, or letters with marks, which `\w` does not match.
        path = PurePosixPath(canonical_name(location).replace("\\", "/"))
        found = expression.search(path.as_posix() if "/" in pattern else path.name)
        yield found and _SEPARATOR.join(part or "" for part in found.groups() or (found[0],))
