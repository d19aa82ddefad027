"""Which columns of a table of labels name the images, the labels and the splits: by their content."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.listing import SUFFIXES
from convsmith.data.hub.columns import label_named
from convsmith.data.splits import Role, is_split_name, role_of, split_words
from convsmith.data.tables.file_names import ImageNames, Matches
from convsmith.data.tables.text import Several, TextTable
from convsmith.errors import DataError, suggest
from convsmith.text import join_first

# Splits have few names; a column of more different ones is none of splits.
_MAX_SPLITS, _MAX_LISTED = 8, 12
# Words of columns that name persons or records, which are rarely the labels.
_IDENTIFIERS = frozenset(
    {
        "id",
        "ids",
        "uid",
        "user",
        "users",
        "patient",
        "patientid",
        "author",
        "annotator",
        "worker",
        "subject",
        "index",
    }
)
_FOLDS = frozenset({"fold", "folds", "kfold", "k_fold"})


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """A table with a column that names images.

    Attributes:
        path: Of the file, relative to the source.
        where: Of the file, for errors.
        role: The split that the name of the file, or of a folder that it is in, stands for.
        text: With a header.
        file_column: The index of the column that names images.
        others: The indices of further columns that name images, such as masks.
        matches: The image of each row.
        joined: Other files that have columns of it.
    """

    path: PurePosixPath
    where: str
    role: Role | None
    text: TextTable
    file_column: int
    others: tuple[int, ...]
    matches: Matches
    joined: tuple[PurePosixPath, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.text.header or ()

    def cells(self, column: int | str) -> list[Any]:
        """Return a column, by its index or its name. Raises KeyError for an unknown name."""
        if isinstance(column, str):
            if column not in self.names:
                raise KeyError(column)
            column = self.names.index(column)
        return [row[column] for row in self.text.rows]

    def place(self, row: int) -> str:
        """Return where a row is, such as `line 7`."""
        return f"{self.text.unit} {self.text.lines[row]}"

    @cached_property
    def splits(self) -> "SplitColumns | None":
        """The split of each row: by a column whose cells are all names of splits, or by columns of 0 and 1.

        Raises:
            DataError: Several columns could be the splits, or a row is in two of them.
        """
        found = [
            self.names[index]
            for index in self._free_columns()
            if _is_split_column(self.cells(index)) and self.names[index] not in label_named(self.names)
        ]
        if len(found) > 1 and len({tuple(self.cells(name)) for name in found}) > 1:
            raise DataError(
                f"{len(found)} columns could be the splits: {_listed(found)}",
                where=self.where,
                fix="remove all but one of them",
            )
        if found:
            return SplitColumns(names=(found[0],), cells=self.cells(found[0]))
        flags = self._split_flags()
        return SplitColumns(names=tuple(flags), cells=self._flagged(flags)) if flags else None

    def _split_flags(self) -> dict[str, Role]:
        """Return the split of each column of 0 and 1 that is named after one, such as `is_train`."""
        free = [self.names[index] for index in self._free_columns()]
        bits = {name: found for name in free if (found := _bits(self.cells(name))) and len(set(found)) > 1}
        flags = {name: role for name in bits if (role := _flag_role(name))}
        others = [name for name in free if name not in flags]
        is_plain = len(flags) == 1 and role_of(next(iter(flags))) and len(split_words(next(iter(flags)))) == 1
        if is_plain and not any(name in label_named(others) or self._may_be_labels(name) for name in others):
            # A label of two classes: trains, and none.
            return {}
        # One-hot columns, of which one is the class `train`.
        classes = [name for name in self._one_hot(list(bits)) if name not in flags]
        return {} if classes else flags

    def _flagged(self, flags: Mapping[str, Role]) -> list[str | None]:
        """Return the split of each row by its columns of 0 and 1."""
        bits = {role: _bits(self.cells(name)) or [] for name, role in flags.items()}
        # Without a column for it, the training set, or else the test set, has the other rows.
        rest = "train" if "train" not in bits else ("test" if "test" not in bits else None)
        cells: list[str | None] = []
        for row, values in enumerate(zip(*bits.values(), strict=True)):
            found = [role for role, value in zip(bits, values, strict=True) if value]
            if len(found) > 1 or len(bits) < len(flags):
                raise DataError(
                    f"the columns {_listed(tuple(flags))} give {self.place(row)} several splits",
                    where=self.where,
                    fix="give each row one split, or remove all but one of these columns",
                )
            cells.append(found[0] if found else rest)
        return cells

    def label_column(self) -> str | None:
        """Return the column of labels: by its name, or the only one that could be; None without any.

        Raises:
            DataError: Several could be, or the labels are one-hot.
        """
        used = self.splits.names if self.splits else ()
        free = [self.names[index] for index in self._free_columns() if self.names[index] not in used]
        free = [name for name in free if any(cell is not None for cell in self.cells(name))]
        named = self._different(label_named(free))
        if len(named) == 1:
            return named[0]
        if not named and (one_hot := self._one_hot(free)):
            columns = ", ".join(f'"{name}"' for name in one_hot)
            raise DataError(
                f"the columns {_listed(one_hot)} are one-hot: 0 or 1, and one 1 in each row",
                where=self.where,
                fix=f"read them as the classes: data.label_columns=[{columns}]",
            )
        found = named or self._different([name for name in free if self._may_be_labels(name)])
        # A target of a regression, which is answered as such.
        found = found or [name for name in free if _has_fractions(self.cells(name)) and len(free) == 1]
        if len(found) > 1:
            found.sort(key=_is_identifier)
            raise DataError(
                f"{len(found)} columns could be the labels: {self._examples(found)}",
                where=self.where,
                fix=f"name it: data.label_column={_quoted(found[0])}",
            )
        return found[0] if found else None

    def clear_label_column(self) -> str | None:
        """Return the column of labels; None if there is none, or several could be."""
        try:
            return self.label_column()
        except DataError:
            return None

    def column_of(self, classes: Sequence[str | None]) -> str | None:
        """Return a column whose cells stand for the classes of the rows, one for one; None without any."""
        known = [index for index, name in enumerate(classes) if name is not None]
        wanted = _numbered([classes[index] for index in known])
        for index in self._free_columns():
            cells = self.cells(index)
            if _numbered([cells[row] for row in known]) == wanted:
                return self.names[index]
        return None

    def check_label_columns(self, columns: Sequence[str]) -> None:
        """Raise DataError unless the table has the columns that the recipe names."""
        for name in columns:
            if name not in self.names:
                raise DataError(
                    f"no column {name!r}, found {_listed(self.names)}",
                    where=self.where,
                    fix=suggest(name, self.names),
                )

    def _free_columns(self) -> list[int]:
        used = {self.file_column, *self.others}
        return [
            index for index, name in enumerate(self.names) if index not in used and name.lower() not in _FOLDS
        ]

    def _different(self, names: Sequence[str]) -> list[str]:
        """Return columns without those that stand for the same classes as another; texts before numbers."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for name in names:
            groups.setdefault(tuple(_numbered(self.cells(name))), []).append(name)
        return [
            next((name for name in group if _has_text(self.cells(name))), group[0])
            for group in groups.values()
        ]

    def _may_be_labels(self, name: str) -> bool:
        cells = self.cells(name)
        count = len(set(cells))
        return 1 < count <= max(2, len(cells) // 2) and not _has_fractions(cells)

    def _one_hot(self, names: Sequence[str]) -> list[str]:
        """Return the columns that are one-hot together; none without two of 0 and 1."""
        bits = {name: found for name in names if (found := _bits(self.cells(name)))}
        if len(bits) < 2:
            return []
        rows = zip(*bits.values(), strict=True)
        return list(bits) if all(sum(row) == 1 for row in rows) else []

    def _examples(self, names: Sequence[str]) -> str:
        shown = [
            f"{name} ({', '.join(str(cell) for cell in dict.fromkeys(self.cells(name)))[:40]})"
            for name in names[:_MAX_LISTED]
        ]
        return ", ".join(shown)


def _is_identifier(name: str) -> bool:
    """Return whether a column is likely to name persons or records, by its name.

    >>> [_is_identifier(name) for name in ("user.id", "patient", "PatientID", "emotion", "idea")]
    [True, True, True, False, False]
    """
    parts = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return not _IDENTIFIERS.isdisjoint(parts)


@dataclass(frozen=True, kw_only=True)
class SplitColumns:
    """The columns that say the splits of a table.

    Attributes:
        names: Of the columns.
        cells: The name of the split of each row; None for a row that is in none.
    """

    names: tuple[str, ...]
    cells: Sequence[Any]


def with_file_column(
    text: TextTable, path: PurePosixPath, where: str, names: ImageNames, image_column: str | None
) -> LabelTable | None:
    """Return a table with the column that names images; None if none does.

    Raises:
        DataError: Several columns name different images, or the recipe names a column that is missing.
    """
    folder = PurePosixPath() if path.is_absolute() else path.parent
    found = dict(_file_columns(text, names, folder))
    text = _with_header(text, found, names, folder)
    header = text.header or ()
    if image_column is not None:
        if image_column not in header:
            raise DataError(
                f"no column {image_column!r}, found {_listed(header)}",
                where=where,
                fix=suggest(image_column, header),
            )
        columns = [header.index(image_column)]
    else:
        columns = _best_columns(found)
    if not columns:
        return None
    role = table_role(path)
    matches = [names.match([row[each] for row in text.rows], folder, role) for each in columns]
    if any(each.images != matches[0].images or each.several != matches[0].several for each in matches):
        listed = [header[each] for each in columns]
        raise DataError(
            f"{len(columns)} columns name images: {_listed(listed)}",
            where=where,
            fix=f"name one: data.image_column={_quoted(listed[0])}",
        )
    return LabelTable(
        path=path,
        where=where,
        role=role,
        text=text,
        file_column=columns[0],
        others=tuple(each for each in found if each != columns[0] and found[each].whole),
        matches=matches[0],
    )


def table_role(path: PurePosixPath) -> Role | None:
    """Return the split that the name of a table, or of the nearest folder with such a name, stands for."""
    if role := role_of(path.stem):
        return role
    roles = map(role_of, reversed(path.parts[:-1]))
    return next((role for role in roles if role not in {None, "aside"}), None)


def label_cells(table: LabelTable, column: str | Sequence[str]) -> list[Any]:
    """Return labels as numbers, if all of them are, or texts; of one-hot columns the names of the columns.

    Raises:
        DataError: Some have fractions, or images have several labels.
    """
    if not isinstance(column, str):
        return list(_from_one_hot(table, column))
    cells = table.cells(column)
    if several := [row for row, cell in enumerate(cells) if isinstance(cell, Several)]:
        raise _several_labels(table, len(several), several[0], list(cells[several[0]]))
    texts = {str(cell) for cell in cells if cell is not None}
    if all(re.fullmatch(r"[+-]?\d+(\.0*)?", text) for text in texts) and not any(
        re.match(r"0\d", text) for text in texts
    ):
        return [None if cell is None else int(float(cell)) for cell in cells]
    if _has_fractions(cells):
        row = next(row for row, cell in enumerate(cells) if cell is not None and _is_fraction(cell))
        raise DataError(
            f"the labels in the column {column} have fractions, such as {cells[row]} in {table.place(row)}",
            where=table.where,
            fix="classes are texts or whole numbers; name another column: data.label_column=NAME",
        )
    for sign in "|;,":
        joined = [row for row, cell in enumerate(cells) if cell is not None and sign in str(cell)]
        parts = {part.strip() for row in joined for part in str(cells[row]).split(sign)}
        if joined and parts <= texts:
            raise _several_labels(table, len(joined), joined[0], str(cells[joined[0]]).split(sign))
    return [None if cell is None else str(cell) for cell in cells]


def _several_labels(table: LabelTable, count: int, row: int, labels: Sequence[str]) -> DataError:
    return DataError(
        f"{count:,} of {len(table.text.rows):,} images have several labels, the first in {table.place(row)}: "
        f"{_listed(labels)}",
        where=table.where,
        fix="one label an image is read: remove the others, or write a row of its own class for each image",
    )


def _from_one_hot(table: LabelTable, columns: Sequence[str]) -> Iterator[str]:
    table.check_label_columns(columns)
    bits = [_bits(table.cells(name)) for name in columns]
    for name, found in zip(columns, bits, strict=True):
        if found is None:
            raise DataError(
                f"the column {name!r} has other cells than 0 and 1",
                where=table.where,
                fix="name one-hot columns",
            )
    for row, each in enumerate(zip(*(found or [] for found in bits), strict=True)):
        if sum(each) != 1:
            raise DataError(
                f"{table.place(row)} has {sum(each)} ones in the columns {_listed(columns)}, expected one",
                where=table.where,
                fix="one label an image is read: name a column for each class, or remove the row",
            )
        yield columns[each.index(1)]


def _file_columns(text: TextTable, names: ImageNames, folder: PurePosixPath) -> Iterator[tuple[int, Matches]]:
    """Yield the columns that name images, each with the matches of a sample."""
    rows = text.rows
    if text.header is None and len(rows) > 1:
        rows = rows[1:]
    for column in range(text.width):
        cells = [row[column] for row in rows]
        matches = names.sampled(cells, folder)
        total = len(matches.images)
        # Without suffixes, a label 3 could be the image 3.png; names of images hardly repeat.
        if matches.count and (
            matches.whole or (2 * matches.count >= total and 2 * len(set(cells)) >= len(cells))
        ):
            yield column, matches


def _best_columns(found: dict[int, Matches]) -> list[int]:
    whole = {column: matches for column, matches in found.items() if matches.whole} or found
    most = max((matches.count for matches in whole.values()), default=0)
    return [column for column, matches in whole.items() if 2 * matches.count >= most]


def _with_header(
    text: TextTable, found: dict[int, Matches], names: ImageNames, folder: PurePosixPath
) -> TextTable:
    if text.header is not None or not text.rows:
        return text
    first = [
        text.rows[0][column]
        for column in (_best_columns(found) or range(text.width))
        if column < len(text.rows[0])
    ]
    is_row = names.match(first, folder, None).count or any(
        PurePosixPath(str(cell)).suffix.lower() in SUFFIXES for cell in first
    )
    return text.with_numbers() if is_row else text.with_header()


def _is_split_column(cells: Sequence[Any]) -> bool:
    values = {cell for cell in cells if cell is not None}
    if len(values) > _MAX_SPLITS or not all(isinstance(cell, str) for cell in values):
        return False
    roles = {role_of(cell) for cell in values}
    return None not in roles and "train" in roles and len(roles) > 1


def _flag_role(name: str) -> Role | None:
    """Return the split that a 1 in a column stands for; None for a column of another meaning.

    >>> [_flag_role(name) for name in ("is_train", "isTest", "train_test_split", "is_valid", "training load")]
    ['train', 'test', 'train', 'validation', None]
    """
    words = [word for word in split_words(name) if word not in {"is", "in", "for", "flag"}]
    role = role_of(" ".join(words))
    # Of `train_test_split`, 1 is the training set, as in CUB-200.
    if role == "aside" and [role_of(word) for word in words[:2]] == ["train", "test"]:
        return "train"
    return role if role not in {None, "aside"} and is_split_name(" ".join(words)) else None


def _numbered(cells: Sequence[Any]) -> list[int]:
    """Return the number of each different cell, in the order of their first appearance."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(cell, len(numbers)) for cell in cells]


def _has_text(cells: Collection[Any]) -> bool:
    return any(isinstance(cell, str) and not re.fullmatch(r"[+-]?\d+(\.\d*)?", cell) for cell in cells)


def _has_fractions(cells: Collection[Any]) -> bool:
    values = [cell for cell in cells if cell is not None]
    return any(map(_is_fraction, values)) and all(_is_number(cell) for cell in values)


def _is_number(cell: Any) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", str(cell), re.IGNORECASE) is not None


def _is_fraction(cell: Any) -> bool:
    return _is_number(cell) and not float(cell).is_integer()


def _bits(cells: Sequence[Any]) -> list[int] | None:
    """Return cells that are all 0 or 1; None otherwise."""
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    bits = [known.get(str(cell).lower()) for cell in cells]
    found = [bit for bit in bits if bit is not None]
    return found if len(found) == len(bits) else None


def _listed(names: Sequence[str]) -> str:
    return join_first(names, _MAX_LISTED)


def _quoted(name: str) -> str:
    return f'"{name}"'


def named(table: LabelTable, **changes: Any) -> LabelTable:
    """Return a table with other matches."""
    return dataclasses.replace(table, **changes)
