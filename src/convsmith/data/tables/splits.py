"""The splits of tables of labels: a table for each, a column, or the folders of the images."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.files.storage import Files
from convsmith.data.splits import Chosen, choose_splits, named_splits, no_validation_error, role_of
from convsmith.data.tables.columns import LabelTable
from convsmith.errors import DataError

_MAX_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which rows of which tables are in which split.

    Attributes:
        tables: Those that are read.
        names: Of each table by its path, the name of the split of each row.
        chosen: The names of the splits that are used.
        notes: What was decided, for the log.
        description: How the splits are known; empty if the tables name them.
    """

    tables: tuple[LabelTable, ...]
    names: Mapping[PurePosixPath, Sequence[str]]
    chosen: Chosen
    notes: tuple[str, ...] = ()
    description: str = ""

    def by_use(self) -> tuple[list[LabelTable], list[LabelTable]]:
        """Return the tables with training images, and the others."""
        train = [table for table in self.tables if self.chosen.train in self.names[table.path]]
        return train, [table for table in self.tables if table not in train]

    def without(self, paths: Collection[PurePosixPath]) -> "Plan":
        """Return a plan without some of the tables of other splits than the training set."""
        gone = {str(path) for path in paths}
        chosen = self.chosen
        if chosen.test in gone:
            chosen = replace(chosen, test=None, test_is_validation=False)
        if chosen.validation in gone:
            chosen = replace(chosen, validation=None)
        tables = tuple(table for table in self.tables if table.path not in paths)
        return replace(self, tables=tables, chosen=chosen)


def plan_splits(files: Files, tables: Sequence[LabelTable], config: DataConfig) -> Plan:
    """Choose the tables that are read, and the split of each row.

    Raises:
        DataError: Tables or splits are ambiguous, or rows name several images.
    """
    named = config.splits.by_role().values() if config.splits else ()
    paths = {str(table.path): table for table in tables}
    if named and all(name in paths for name in named):
        assert config.splits
        chosen = named_splits(config.splits, paths)
    elif any(table.role == "train" for table in tables) and len(tables) > 1:
        tables = _without_equal(tables)
        _check_others(files, tables)
        roles = {str(table.path): table.role for table in tables if table.role}
        if len(roles) == 1:
            return _one_table(files, next(each for each in tables if each.role), config)
        sizes = {str(table.path): len(table.text.rows) for table in tables}
        chosen = choose_splits(roles, sizes, files.location, own_validation=config.own_validation)
    else:
        table = _only_table(files, _without_equal(tables))
        if table.role not in {None, "train"} and config.table is None:
            raise DataError(
                f"found a table of the {table.role} split alone, {table.path}, and none of the training set",
                where=files.location,
                fix=f'add one, such as train.csv, or, if it has all images: data.table="{table.path}"',
            )
        return _one_table(files, table, config)
    used = tuple(paths[name] for name in chosen.by_role().values())
    for table in used:
        check_matches(files, table)
    unread = [str(table.path) for table in tables if table.role and table not in used]
    return Plan(
        tables=used,
        names={table.path: [str(table.path)] * len(table.text.rows) for table in used},
        chosen=chosen,
        notes=(*chosen.notes, *(f"{path} is not read: its split is not used" for path in unread)),
    )


def check_matches(files: Files, table: LabelTable) -> None:
    """Raise DataError if a table has rows of other lengths, or names that several images have."""
    if table.text.problem:
        fix = "give each row all columns; a cell with the separator stands in quotes"
        raise DataError(table.text.problem, where=table.where, fix=fix)
    if table.matches.several:
        index, images = next(iter(table.matches.several.items()))
        count = len(table.matches.several)
        folder = f"{files.location}/{images[0].parent}".removesuffix("/.")
        raise DataError(
            f"{count:,} rows name several images, the first in {table.place(index)}: "
            f"{', '.join(map(str, images[:_MAX_LISTED]))}",
            where=table.where,
            fix="write the folder into the column of files, or name the folder of the images and the table: "
            f'data.source="{folder}" data.table="{table.where}"',
        )


def _one_table(files: Files, table: LabelTable, config: DataConfig) -> Plan:
    """Return the splits of a single table: by a column, by the folders of the images, or none."""
    count = len(table.text.rows)
    splits = table.splits
    table = _matched_by_split(table, splits.cells if splits else None)
    check_matches(files, table)
    if splits is not None:
        names = [str(cell) if cell is not None else "no split" for cell in splits.cells]
        roles = {name: role_of(name) for name in dict.fromkeys(names) if name != "no split"}
        description = f", splits by the column{'s' * (len(splits.names) > 1)} {' and '.join(splits.names)}"
    else:
        names, description = _folder_splits(table)
        roles = {name: role_of(name) for name in dict.fromkeys(names)}
    if not any(roles.values()):
        if config.own_validation:
            raise no_validation_error("one table without splits", table.where)
        if config.splits:
            raise DataError(
                "the table has no splits to name",
                where=table.where,
                fix="remove data.splits, or add a column",
            )
        return Plan(tables=(table,), names={table.path: ["train"] * count}, chosen=Chosen(train="train"))
    chosen = (
        named_splits(config.splits, roles)
        if config.splits
        else choose_splits(roles, Counter(names), table.where, own_validation=config.own_validation)
    )
    return Plan(
        tables=(table,),
        names={table.path: names},
        chosen=chosen,
        notes=chosen.notes,
        description=description,
    )


def _matched_by_split(table: LabelTable, splits: Sequence[Any] | None) -> LabelTable:
    """Match names that several images have again, in the folders of the split of their row."""
    if splits is None or not table.matches.several:
        return table
    images, several = list(table.matches.images), dict(table.matches.several)
    for index, found in table.matches.several.items():
        role = role_of(str(splits[index]))
        inside = [image for image in found if any(role_of(part) == role for part in image.parts[:-1])]
        if role and len(inside) == 1:
            images[index] = inside[0]
            del several[index]
    return replace(table, matches=replace(table.matches, images=images, several=several))


def _folder_splits(table: LabelTable) -> tuple[list[str], str]:
    """Return the splits that the folders of the images name, if each image is in one of them."""
    count = len(table.text.rows)
    found = [
        next((part for part in image.parts[:-1] if role_of(part) in {"train", "test", "validation"}), None)
        for image in table.matches.images
        if image is not None
    ]
    names = set(found)
    if None in names or len({role_of(name) for name in names if name}) < 2:
        return ["all"] * count, ""
    inside = iter(found)
    rest = next(name for name in found if name and role_of(name) == "train") if found else "all"
    rows = [next(inside) if image is not None else rest for image in table.matches.images]
    return [str(name) for name in rows], ", splits by the folders of the images"


def _labels_by_image(table: LabelTable) -> dict[PurePosixPath, Any]:
    """Return what a table says of each image: its label, or all further cells if the label is not known."""
    column = table.clear_label_column()
    cells = table.cells(column) if column else [None] * len(table.text.rows)
    return {
        image: None if cell is None else str(cell)
        for image, cell in zip(table.matches.images, cells, strict=False)
        if image is not None
    }


def _without_equal(tables: Sequence[LabelTable]) -> list[LabelTable]:
    """Return tables without those that say the same of the same images as an earlier one of their split."""
    kept: list[tuple[LabelTable, dict[PurePosixPath, Any]]] = []
    for table in tables:
        labels = _labels_by_image(table)
        if not any(_says_the_same(labels, other) and table.role == one.role for one, other in kept):
            kept.append((table, labels))
    return [table for table, _ in kept]


def _says_the_same(one: Mapping[PurePosixPath, Any], other: Mapping[PurePosixPath, Any]) -> bool:
    """Return whether tables have the same images, and the same labels or those of their folders."""
    if one.keys() != other.keys():
        return False
    return one == other or all({None, image.parent.name} >= {one[image], other[image]} for image in one)


def _check_others(files: Files, tables: Sequence[LabelTable]) -> None:
    """Raise DataError if a table that is none of a split gives an image of one another label."""
    labels: dict[PurePosixPath, Any] = {}
    for table in tables:
        if table.role == "train":
            labels |= _labels_by_image(table)
    for table in tables:
        if table.role is None:
            other = _labels_by_image(table)
            common = labels.keys() & other.keys()
            if not common or any(labels[image] != other[image] for image in common):
                train = next(str(each.path) for each in tables if each.role == "train")
                splits = f'data.splits.train="{train}"'
                raise DataError(
                    f"found several tables of images: {_listed(tables)}",
                    where=files.location,
                    fix=f'name one: data.table="{table.path}"; or those of the splits: {splits}',
                )


def _only_table(files: Files, tables: Sequence[LabelTable]) -> LabelTable:
    if len(tables) == 1:
        return tables[0]
    candidates = [table for table in tables if table.role is None] or list(tables)
    first = max(candidates, key=lambda table: len(table.matches.images))
    raise DataError(
        f"found several tables of images: {_listed(tables)}",
        where=files.location,
        fix=f'name one: data.table="{first.path}"',
    )


def _listed(tables: Sequence[LabelTable]) -> str:
    return ", ".join(f"{table.path} ({len(table.text.rows):,} rows)" for table in tables)
