"""Rows of tables of labels as images: repeated and contradicting rows, and files that do not exist."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from convsmith.data.files.storage import Files
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.labels import Contradiction
from convsmith.data.raw import RawSplit, TextArray, is_class_index, part_of
from convsmith.data.tables.columns import LabelTable


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: the image that it names, if there is one, and its label in the data set."""

    table: LabelTable
    index: int
    label: Any
    image: PurePosixPath | None

    @property
    def text(self) -> str:
        """What the table writes for the image."""
        return str(self.table.text.rows[self.index][self.table.file_column])

    @property
    def place(self) -> str:
        return f"{self.table.path}, {self.table.place(self.index)}"


@dataclass(frozen=True, kw_only=True)
class ImagesAndMissing:
    """Images, and after them an error for each that does not exist."""

    images: Collection[Encoded | UnusableImageError]
    missing: tuple[UnusableImageError, ...]

    def __len__(self) -> int:
        return len(self.images) + len(self.missing)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        return self.part(0, len(self))

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        count = len(self.images)
        if start < count:
            yield from part_of(self.images, start, min(stop, count))
        yield from self.missing[max(start - count, 0) : max(stop - count, 0)]


def merged(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return one row for each image; rows that give an image different labels become one without a class."""
    kept: dict[PurePosixPath | str, Row] = {}
    for row in rows:
        key = row.image or row.text
        first = kept.setdefault(key, row)
        if first is not row and first.label != row.label and not isinstance(first.label, Contradiction):
            both = [f"{_name(each.label, names)} in {each.table.place(each.index)}" for each in (first, row)]
            label = Contradiction(f"{both[0]}, {both[1]}")
            kept[key] = Row(table=first.table, index=first.index, label=label, image=first.image)
    return list(kept.values())


def table_split(files: Files, rows: Sequence[Row]) -> RawSplit:
    """Return the images of a split: those that exist, in the order of reading, then the others."""
    present = [(row.image, row) for row in rows if row.image is not None]
    present.sort(key=lambda each: files.order(each[0]))
    missing = [row for row in rows if row.image is None]
    images = files.images([image for image, _ in present])
    errors = tuple(UnusableImageError("missing", _why(row)) for row in missing)
    ordered = [*(row for _, row in present), *missing]

    def column(name: str) -> list[Any]:
        cells = {
            table.path: table.cells(name) for table in {row.table.path: row.table for row in rows}.values()
        }
        return [cells[row.table.path][row.index] for row in ordered]

    return RawSplit(
        images=ImagesAndMissing(images=images, missing=errors) if errors else images,
        labels=[row.label for row in ordered],
        locations=TextArray(chain((str(image) for image, _ in present), (row.text for row in missing))),
        column=column,
        has_files=True,
        most_parts=files.most_parts,
    )


def _why(row: Row) -> str:
    if row.index in row.table.matches.outside:
        return f"named in {row.place}, a path that leads out of the source"
    return f"named in {row.place}, and there is no such file"


def _name(label: Any, names: Sequence[str]) -> str:
    return repr(names[label]) if is_class_index(label) and label < len(names) else repr(label)
