"""Columns of a table that are in other files: lists by the numbers of images, and one table of all labels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.storage import Files
from convsmith.data.tables.columns import LabelTable
from convsmith.data.tables.text import TABLE_SUFFIXES, TextTable, read_tables
from convsmith.errors import DataError
from convsmith.text import join_first

# Data sets have few lists; texts beside each image are none.
_MAX_LISTS = 100


def with_keyed_columns(files: Files, table: LabelTable) -> LabelTable:
    """Return a table of numbers and images with the columns of the lists beside it that have these numbers.

    CUB-200 is such a data set: `images.txt`, `image_class_labels.txt` and `train_test_split.txt` have the
    number of an image and a value in each line. The name of a column is that of its file.
    """
    keys = _keys(table)
    if keys is None:
        return table
    columns: dict[str, Sequence[Any]] = {}
    joined = []
    for path in _beside(files, table.path):
        values = _keyed(files, path, keys)
        if values is not None and path.stem not in table.names:
            columns[path.stem] = values
            joined.append(path)
    if not columns:
        return table
    names = tuple("file" if at == table.file_column else "number" for at in range(2))
    return replace(_with_columns(table, columns, names), joined=tuple(joined))


def with_labels_of_another(tables: Sequence[LabelTable], label_column: str | None) -> list[LabelTable]:
    """Return lists of the splits without labels with those of the only other table, which is no more one.

    Args:
        tables: All that name images.
        label_column: The column of labels, if the recipe names it.
    """
    lists = [table for table in tables if table.role]
    others = [table for table in tables if not table.role]
    if len(others) != 1 or not any(table.role == "train" for table in lists) or len(lists) < 2:
        return list(tables)
    (other,) = others
    column = label_column if label_column in other.names else other.clear_label_column()
    if column is None or any(table.clear_label_column() is not None for table in lists):
        return list(tables)
    labels = dict(zip(other.matches.images, other.cells(column), strict=True))
    if not all(image is None or image in labels for table in lists for image in table.matches.images):
        return list(tables)
    return [
        replace(
            _with_columns(table, {column: [labels.get(image) for image in table.matches.images]}),
            joined=(other.path,),
        )
        for table in lists
    ]


def check_lists_of_classes(files: Files, tables: Sequence[LabelTable]) -> None:
    """Raise DataError for lists of one class each, with 1, 0 and -1 for each image, as PASCAL VOC has."""
    found = [table for table in tables if len(table.names) == 2 and _is_list_of_class(table)]
    if len(found) < 2:
        return
    # By their text: the masks of segmentation have the names of the images too.
    classes: dict[str, set[str]] = {}
    for table in found:
        name = re.sub(r"[-_. ]*(train|val|trainval|test)$", "", table.path.stem)
        for text, value in zip(table.cells(table.file_column), _values(table), strict=True):
            if value == "1":
                classes.setdefault(str(text), set()).add(name)
    names = sorted(set().union(*classes.values()))
    several = sum(len(each) > 1 for each in classes.values())
    raise DataError(
        f"found a list for each of the classes {join_first(names, 3)}, with 1 and -1, as PASCAL VOC has: an "
        "image can have several classes" + (f", as {several:,} of {len(classes):,} have" if several else ""),
        where=f"{files.location}/{found[0].path.parent}",
        fix="write a table with one class an image, such as labels.csv with file,label, and name it: "
        'data.table="labels.csv"',
    )


def _is_list_of_class(table: LabelTable) -> bool:
    values = set(_values(table))
    return "-1" in values and values <= {"-1", "0", "1"}


def _values(table: LabelTable) -> list[str]:
    return [str(cell) for cell in table.cells(1 - table.file_column)]


def _keys(table: LabelTable) -> list[str] | None:
    """Return the numbers of the images of a list of numbers and paths; None for other tables."""
    if table.text.unit != "line" or len(table.names) != 2 or table.others or table.text.problem:
        return None
    keys = [str(cell) for cell in table.cells(1 - table.file_column)]
    is_numbered = all(key.isdecimal() for key in keys) and len(set(keys)) == len(keys)
    return keys if is_numbered and len(keys) > 1 else None


def _beside(files: Files, path: PurePosixPath) -> list[PurePosixPath]:
    return [
        each
        for each in files.files
        if each.parent == path.parent
        and each != path
        and each.suffix.lower() in TABLE_SUFFIXES
        and not files.unread_reason(each)
    ][:_MAX_LISTS]


def _keyed(files: Files, path: PurePosixPath, keys: Sequence[str]) -> list[Any] | None:
    """Return the value of each number in a list; None for a file that is no list of just these numbers."""
    try:
        texts = read_tables(files, path)
    except DataError:
        return None
    for text in texts:
        if text.width != 2 or text.problem or text.header or len(text.rows) != len(keys):
            continue
        values: Mapping[str, Any] = {str(key): value for key, value in text.rows}
        if len(values) == len(keys) and all(key in values for key in keys):
            return [values[key] for key in keys]
    return None


def _with_columns(
    table: LabelTable, columns: Mapping[str, Sequence[Any]], names: tuple[str, ...] | None = None
) -> LabelTable:
    text = table.text
    rows = [[*row, *values] for row, *values in zip(text.rows, *columns.values(), strict=True)]
    header = (*(names or table.names), *columns)
    return replace(table, text=TextTable(**{**vars(text), "rows": rows, "header": header}))
