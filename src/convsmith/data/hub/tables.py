"""Tables of the `datasets` library: from the Hugging Face hub, or in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.hub.columns import declared_names, encoded_image, find_columns, reason_of
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.data.labels import TableLabels, combined, name_notes
from convsmith.data.raw import NumberedLocations, RawData, RawSplit, Source
from convsmith.data.splits import Chosen, choose_splits, named_splits, role_of
from convsmith.errors import DataError, suggest

# Rows in memory at once.
_BATCH_ROWS = 256


def read_tables(splits: Mapping[str, Any], source: Source, config: DataConfig) -> RawData:
    """Return the images, read lazily, and the labels of the tables of a data set, by the names of its splits.

    Raises:
        DataError: Splits or columns are missing or ambiguous.
    """
    chosen = _choose(splits, source, config)
    used = chosen.by_role()
    image, label = find_columns(splits[chosen.train].features, source, config)
    labels = {role: _labels(splits[name], name, label, source) for role, name in used.items()}
    train, *rest = labels.values()
    names, values = combined([train], rest)
    raw = {
        role: _split(splits[name], name, image, each)
        for (role, name), each in zip(used.items(), values, strict=True)
    }
    return RawData(
        splits=raw,
        class_names=names,
        ignored={name: f"in the split {name}" for name in splits if name not in used.values()},
        notes=(*chosen.notes, *name_notes(names)),
        test_is_validation=chosen.test_is_validation,
        description=f"columns {image}, {label}",
    )


def _choose(splits: Mapping[str, Any], source: Source, config: DataConfig) -> Chosen:
    if config.splits is None:
        sizes = {name: len(table) for name, table in splits.items()}
        roles = {name: role_of(name) for name in splits}
        return choose_splits(roles, sizes, source.location, own_validation=config.own_validation)
    return named_splits(config.splits, splits)


def _labels(table: Any, name: str, label: str, source: Source) -> TableLabels:
    if label not in table.features:
        raise DataError(
            f"the split {name} has no column {label!r}",
            where=source.location,
            fix=suggest(label, table.features),
        )
    return TableLabels.of(
        f"{source.location}, split {name}", list(table[label]), declared_names(table.features[label])
    )


def _split(table: Any, name: str, image: str, labels: Sequence[Any]) -> RawSplit:
    import datasets

    return RawSplit(
        images=TableImages(table.cast_column(image, datasets.Image(decode=False)), image),
        labels=labels,
        locations=NumberedLocations(name, "row", len(table)),
        column=lambda column: list(table[column]),
    )


class TableImages:
    """The images of a memory-mapped table, read lazily."""

    def __init__(self, table: Any, column: str) -> None:
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        return self.part(0, len(self.table))

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        for begin in range(start, stop, _BATCH_ROWS):
            yield from self._rows(begin, min(begin + _BATCH_ROWS, stop))

    def _rows(self, start: int, stop: int) -> list[Encoded | UnusableImageError]:
        """Return the images of some rows; a damaged row costs only itself."""
        try:
            return [encoded_image(cell, str) for cell in self.table[start:stop][self.column]]
        except (OSError, ValueError) as error:
            if stop - start == 1:
                return [UnusableImageError("unreadable", f"the table is damaged here: {reason_of(error)}")]
            middle = (start + stop) // 2
            return [*self._rows(start, middle), *self._rows(middle, stop)]
