"""Pictures in files: class folders, or tables of labels and lists of paths beside the images."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from convsmith.data.config import DataConfig
from convsmith.data.files.folders import read_class_folders
from convsmith.data.files.storage import Files, image_files
from convsmith.data.hub.columns import label_named
from convsmith.data.raw import RawData
from convsmith.data.tables.class_names import with_class_names
from convsmith.data.tables.columns import LabelTable
from convsmith.data.tables.labels import Found, find_tables, read_label_tables
from convsmith.data.tables.text import TABLE_SUFFIXES
from convsmith.errors import DataError
from convsmith.text import join_first

# The share of the images in class folders that a table has to name to be another layout of them.
_SHARE = 0.5


def read_pictures(files: Files, config: DataConfig) -> RawData:
    """Return the images of a folder or an archive by split and class, in the layout that they are found in.

    Raises:
        DataError: The layout is unknown or ambiguous; the error lists what was found and what to write.
    """
    return with_class_names(files, _read(files, config))


def _read(files: Files, config: DataConfig) -> RawData:
    images = image_files(files)
    if _names_table(config):
        found = find_tables(files, images, config)
        _check_effect(files, found, config)
        return _from_tables(files, found, config)
    if config.splits is not None:
        return _from_folders(files, config)
    try:
        raw = _from_folders(files, config)
    except DataError as error:
        found = find_tables(files, images, config)
        if not found.tables and not found.errors:
            raise
        return _from_tables(files, found, config, error)
    found = find_tables(files, images, config)
    return _checked(files, raw, found, config)


def _names_table(config: DataConfig) -> bool:
    """Return whether a recipe says that a table has the labels."""
    splits = config.splits.by_role().values() if config.splits else ()
    is_table = any(PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES for name in splits)
    settings = (config.table, config.image_column, config.label_column, config.label_columns)
    return is_table or any(each is not None for each in settings)


def _check_effect(files: Files, found: Found, config: DataConfig) -> None:
    """Raise DataError for columns that a recipe names although there are no tables."""
    for name in ("image_column", "label_column", "label_columns"):
        if getattr(config, name) is not None and not found.tables and not found.errors:
            raise DataError(
                f"data.{name} has no effect: no table beside the images names them",
                where=files.location,
                fix=f"remove data.{name}",
            )


def _from_folders(files: Files, config: DataConfig) -> RawData:
    return read_class_folders(
        files,
        config.splits,
        own_validation=config.own_validation,
        merge_spellings=config.merge_spellings,
    )


def _from_tables(files: Files, found: Found, config: DataConfig, error: DataError | None = None) -> RawData:
    """Return what tables say; without any the error of the first that is none, or of class folders."""
    if found.tables:
        return read_label_tables(files, found.tables, config)
    if found.errors:
        raise next(iter(found.errors.values()))
    if error:
        raise error
    texts = [str(path) for path in files.files if path.suffix.lower() in TABLE_SUFFIXES]
    name = config.table or ", ".join(texts[:6]) or "no table"
    example = next(iter(image_files(files)), "none")
    raise DataError(
        f"found no column that names images of the source, in {name}",
        where=files.location,
        fix=f"write paths relative to the source, such as {example}",
    )


def _checked(files: Files, raw: RawData, found: Found, config: DataConfig) -> RawData:
    """Return class folders, or what tables beside them say of their splits; a contradiction is an error."""
    classes = _classes(raw)
    tables = [table for table in found.tables if _count(table, classes) >= _SHARE * len(table.matches.images)]
    large = [table for table in tables if _count(table, classes) >= _SHARE * len(classes)]
    lists = [table for table in tables if table.role and _agrees(table, classes)]
    has_own = len(raw.splits) > 1
    if not has_own and {"train", "test"} <= {table.role for table in lists}:
        return read_label_tables(files, lists, config)
    if not has_own and len(large) == 1 and large[0].splits and _agrees(large[0], classes):
        return read_label_tables(files, large, config)
    others = [table for table in large if not _agrees(table, classes)]
    for table in others:
        if _are_parts(raw.class_names) or _has_own_labels(table):
            raise DataError(
                f"found class folders ({_listed(raw.class_names)}) and a table, {table.path}, whose labels "
                "are not those of the folders",
                where=files.location,
                fix=f'name the table, data.table="{table.path}", or the folders, '
                f'data.splits.train="{_folder(raw)}"',
            )
    notes = tuple(
        f"{table.path} names images too, and is not read: the folders are the classes" for table in large
    )
    return replace(raw, notes=(*raw.notes, *notes))


def _classes(raw: RawData) -> dict[PurePosixPath, str]:
    """Return the class of each image in class folders."""
    return {
        PurePosixPath(place): raw.class_names[label]
        for split in raw.splits.values()
        for place, label in zip(split.locations, split.labels, strict=True)
    }


def _count(table: LabelTable, classes: dict[PurePosixPath, str]) -> int:
    return sum(image in classes for image in table.matches.images if image is not None)


def _agrees(table: LabelTable, classes: dict[PurePosixPath, str]) -> bool:
    """Return whether a table has no labels but those of the folders."""
    own = [classes.get(image) if image is not None else None for image in table.matches.images]
    if len(set(own) - {None}) > 1 and table.column_of(own) is not None:
        return True
    try:
        return table.label_column() is None
    except DataError:
        return False


def _has_own_labels(table: LabelTable) -> bool:
    """Return whether a table has one column of labels, by its name or because it has no other."""
    column = table.clear_label_column()
    return column is not None and (len(table.names) == 2 or column in label_named(table.names))


def _are_parts(names: Sequence[str]) -> bool:
    """Return whether names differ in numbers alone, as those of parts of a data set do.

    >>> _are_parts(["images_part_1", "images_part_2"]), _are_parts(["0", "1"])
    (True, False)
    """
    rests = Counter(re.sub(r"\d+", "", name) for name in names)
    return len(rests) == 1 and bool(next(iter(rests)).strip(" _-"))


def _folder(raw: RawData) -> str:
    return raw.splits["train"].folder or "."


def _listed(names: Sequence[str]) -> str:
    return join_first(names, 6)
