"""Images beside tables of labels or lists of paths: one table for all splits, or one for each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from convsmith.data.config import DataConfig
from convsmith.data.files.storage import Files, ignored_reason
from convsmith.data.labels import TableLabels, combined, name_notes
from convsmith.data.raw import RawData
from convsmith.data.splits import is_container_name, is_split_name
from convsmith.data.tables.class_names import may_name_classes
from convsmith.data.tables.columns import LabelTable, label_cells, table_role, with_file_column
from convsmith.data.tables.file_names import ImageNames
from convsmith.data.tables.joins import check_lists_of_classes, with_keyed_columns, with_labels_of_another
from convsmith.data.tables.rows import Row, merged, table_split
from convsmith.data.tables.splits import Plan, plan_splits
from convsmith.data.tables.text import TABLE_SUFFIXES, read_tables
from convsmith.errors import DataError
from convsmith.text import plural

# Data sets have few tables; texts beside each image are none.
_MAX_TABLES = 100
# The column of labels, or those that are one-hot together; None for the folders of the images.
Labels = str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The tables beside images: those that name images, and why others are no tables."""

    tables: tuple[LabelTable, ...]
    errors: Mapping[PurePosixPath, DataError]


def find_tables(files: Files, images: Sequence[PurePosixPath], config: DataConfig) -> Found:
    """Return the tables that name images; with `data.table` only that one.

    Raises:
        DataError: The table that the recipe names does not exist.
    """
    names = ImageNames(images, files.location)
    tables, errors = [], {}
    for path in _paths(files, names, config):
        try:
            table = _opened(files, path, names, config.image_column, is_named=config.table is not None)
            # The number of a class could be the name of an image.
            is_names = table and not table.matches.whole and may_name_classes(path)
            if table and not (is_names and 2 * len(table.text.rows) < len(images)):
                tables.append(table)
        except DataError as error:
            errors[path] = error
    return Found(tables=tuple(with_keyed_columns(files, table) for table in tables), errors=errors)


def read_label_tables(files: Files, tables: Sequence[LabelTable], config: DataConfig) -> RawData:
    """Return the images that tables name, by split.

    Raises:
        DataError: Tables, splits or columns are missing or ambiguous, or labels are no classes.
    """
    check_lists_of_classes(files, tables)
    plan = plan_splits(files, with_labels_of_another(tables, config.label_column), config)
    columns = {table.path: label_column(table, config) for table in plan.tables}
    plan, unlabelled = _with_labels(plan, columns)
    used = plan.chosen.by_role()
    train, others = plan.by_use()
    labels = [_labels(table, columns[table.path]) for table in (*train, *others)]
    names, values = combined(labels[: len(train)], labels[len(train) :])
    rows: dict[str, list[Row]] = {}
    for table, found in zip((*train, *others), values, strict=True):
        for index, (image, label) in enumerate(zip(table.matches.images, found, strict=True)):
            name = plan.names[table.path][index]
            rows.setdefault(name, []).append(Row(table=table, index=index, image=image, label=label))
    kept = {split: merged(rows.get(name, []), names) for split, name in used.items()}
    repeated = sum(len(rows.get(name, [])) for name in used.values()) - sum(map(len, kept.values()))
    named = {row.image: name for name, each in rows.items() for row in each}
    read = {row.image for each in kept.values() for row in each}
    return RawData(
        splits={split: table_split(files, each) for split, each in kept.items()},
        class_names=names,
        ignored=_ignored(files, plan.tables, read, named),
        notes=(
            *plan.notes,
            *(f"{path} names images without labels, and is not read" for path in unlabelled),
            *([f"{plural(repeated, 'row')} of the tables repeat another one"] if repeated else []),
            *name_notes(names),
        ),
        test_is_validation=plan.chosen.test_is_validation,
        description=_description(plan, columns),
    )


def label_column(table: LabelTable, config: DataConfig) -> Labels:
    """Return the column of labels, of the recipe or by its content; None if the folders are the classes.

    Raises:
        DataError: Several columns could be the labels, or the table lacks the column that the recipe names.
    """
    columns = config.label_columns or config.label_column
    if columns is None:
        return table.label_column()
    table.check_label_columns([columns] if isinstance(columns, str) else columns)
    return columns


def classes_of_folders(images: Sequence[PurePosixPath | None]) -> list[str | None]:
    """Return the class of each image by its folder: the one below the folder that holds all of them.

    >>> classes_of_folders([PurePosixPath("a/cat/x/1.png"), PurePosixPath("a/dog/2.png")])
    ['cat', 'dog']
    """
    folders = [image.parts[:-1] for image in images if image is not None]
    if not folders:
        return [None] * len(images)
    first, last = min(folders), max(folders)
    depth = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    # All images in one folder are of one class.
    depth = min(depth, min(map(len, folders)) - 1)
    return [None if image is None or depth < 0 else image.parts[depth] for image in images]


def _paths(files: Files, names: ImageNames, config: DataConfig) -> list[PurePosixPath]:
    if config.table is not None:
        return [table_path(files, config.table)]
    named = set(config.splits.by_role().values()) if config.splits else set()
    paths = [
        path
        for path in files.files
        if path.suffix.lower() in TABLE_SUFFIXES
        and (str(path) in named or table_role(path) != "aside")
        and path.stem not in names.stems
        and not files.unread_reason(path)
    ]
    return sorted(paths, key=lambda path: (len(path.parts), path))[:_MAX_TABLES]


def table_path(files: Files, name: str) -> PurePosixPath:
    """Return the path of the table that a recipe names: relative to the source, or absolute.

    Raises:
        DataError: It does not exist, or is of another kind.
    """
    path = files.table(name)
    tables = [str(each) for each in files.files if each.suffix.lower() in TABLE_SUFFIXES]
    if path is None or path.suffix.lower() not in TABLE_SUFFIXES:
        kinds = ", ".join(sorted(TABLE_SUFFIXES))
        raise DataError(
            "no such table" if path is None else f"found a {path.suffix} file, expected one of {kinds}",
            where=f"data.table={name}",
            fix=f"{files.location} has {', '.join(tables[:12]) or 'none'}; or write an absolute path",
        )
    return path


def _opened(
    files: Files, path: PurePosixPath, names: ImageNames, image_column: str | None, *, is_named: bool
) -> LabelTable | None:
    """Return a table, read so that most of its rows name images; None if none does."""
    where = str(path) if path.is_absolute() else f"{files.location}/{path}"
    best: LabelTable | None = None
    try:
        texts = read_tables(files, path)
    except DataError:
        # Notes and licences are often no UTF-8.
        if path.suffix.lower() in {".txt", ".lst"} and not is_named:
            return None
        raise
    for text in texts:
        table = with_file_column(text, path, where, names, image_column) if text.rows else None
        if table and (best is None or table.matches.count > best.matches.count):
            best = table
    return best


def _with_labels(plan: Plan, columns: dict[PurePosixPath, Labels]) -> tuple[Plan, list[PurePosixPath]]:
    """Return a plan without tables that lack the labels that the training set has, and their paths."""
    train = plan.by_use()[0][0]
    if columns[train.path] is None:
        return plan, []
    lacking = [table.path for table in plan.tables if columns[table.path] is None]
    return plan.without(lacking), lacking


def _labels(table: LabelTable, column: Labels) -> TableLabels:
    if column is not None:
        cells = label_cells(table, column)
        declared = column if not isinstance(column, str) else table.text.declared
        if declared is not None:
            index = {name: number for number, name in enumerate(declared)}
            return TableLabels.of(table.where, [index.get(cell, cell) for cell in cells], declared)
        return TableLabels.of(table.where, cells)
    classes = classes_of_folders(table.matches.images)
    odd = {name for name in classes if name and (is_container_name(name) or is_split_name(name))}
    if odd or not any(classes):
        found = ", ".join(sorted(odd)) or "none"
        raise DataError(
            f"found no column of labels, and the folders of the images name no classes: {found}",
            where=table.where,
            fix="add a column of labels, or name it: data.label_column=NAME",
        )
    return TableLabels.of(table.where, classes)


def _ignored(
    files: Files,
    tables: Sequence[LabelTable],
    read: Collection[PurePosixPath | None],
    named: Mapping[PurePosixPath | None, str],
) -> dict[str, str]:
    used = {*read, *(path for table in tables for path in (table.path, *table.joined))}
    reasons = dict(files.skipped)
    for path in files.files:
        if path not in used:
            other = f"in the split {named[path]}" if path in named else "an image that no table names"
            reasons[path] = ignored_reason(files, path) or other
    return {str(path): reason for path, reason in sorted(reasons.items())}


def _description(plan: Plan, columns: Mapping[PurePosixPath, Labels]) -> str:
    tables = " and ".join(str(table.path) for table in plan.tables)
    first = plan.tables[0]
    column = columns[first.path]
    names = [first.names[first.file_column], *([column] if isinstance(column, str) else column or ())]
    if not any(name.isdecimal() for name in names) or len(first.names) > 2:
        tables += f" (column{'s' * (len(names) > 1)} {', '.join(names)})"
    classes = "" if column is not None else ", classes by their folders"
    return f"images with {tables}{classes}{plan.description}"
