"""Parquet folders in the layout of the Hugging Face hub; rows are read in order, in small batches."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate, chain, combinations, islice, repeat
from pathlib import PurePath, PurePosixPath
from typing import Any

from convsmith.data.config import DataConfig, SplitNames
from convsmith.data.files.listing import is_image_name
from convsmith.data.files.storage import Files
from convsmith.data.hub.columns import (
    declared_names,
    encoded_image,
    features_of,
    find_columns,
    find_image_column,
    image_columns,
    reason_of,
)
from convsmith.data.images.decode import MAX_BYTES, Encoded, UnusableImageError
from convsmith.data.labels import BadLabel, LabelArray, TableLabels, combined, name_notes
from convsmith.data.raw import RawData, RawSplit, Source
from convsmith.data.splits import Role, choose_splits, overlap_error, role_of
from convsmith.errors import DataError

# Rows in memory at once, as long as they take no more than `MAX_BYTES`, and labels.
_BATCH_ROWS, _LABELS = 256, 2**14
# Bytes of a column that are read at once: a row group may have gigabytes.
_BUFFER = 2**20
# Encoded images are compressed already; a column that shrinks by more is made to exhaust the memory.
_MAX_RATIO = 200
# The number of a part, as writers name it: train_2, train-00000-of-00005-8a3b5c0dd10cf531,
# part-00000-3f2a8b1c-0e5d-4c1b-9f6a-7d8e9f0a1b2c-c000.snappy
_PART = re.compile(
    r"[-_. ]*\d+([-_. ]*of[-_. ]*\d+)?(-[0-9a-f-]{16,})?(-c\d+)?(\.(snappy|gz|gzip|zstd|lz4|brotli))?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A readable parquet file: its path relative to the source, and the number of its rows."""

    location: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class FileSplit:
    """What the path of a parquet file says.

    Attributes:
        name: The beginning of the path up to the split's name, which names the split in `data.splits`.
        role: The split that the name stands for.
        configuration: The other folders: the hub has one for each version of a data set.
    """

    name: str
    role: Role | None
    configuration: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ChosenFiles:
    """The files of the splits that are used, the others with a reason, and notes for the log."""

    files: Mapping[str, Sequence[str]]
    ignored: Mapping[str, str]
    notes: tuple[str, ...]
    test_is_validation: bool


def read_parquet(files: Files, source: Source, config: DataConfig) -> RawData:
    """Return the rows of the parquet files of a folder or an archive, by split.

    The name of a file, or of the folder it is in, determines its split.

    Raises:
        DataError: No file can be read, or splits, configurations or columns are missing or ambiguous.
    """
    locations = parquet_files(files)
    beside = {path: _other_reason(path) for path in files.files if str(path) not in set(locations)}
    chosen = choose_files(locations, config.splits, source.location, own_validation=config.own_validation)
    unreadable: dict[str, str] = {}
    features = {}
    files.prepare([PurePosixPath(each) for used in chosen.files.values() for each in used])
    for location in (each for used in chosen.files.values() for each in used):
        try:
            features[location] = _read_features(files, location)
        except (OSError, ValueError) as error:
            unreadable[location] = reason_of(error)
    if not features:
        raise unreadable_files(source, unreadable)
    image, label = find_columns(next(iter(features.values())), source, config)
    shards: dict[str, list[Shard]] = {}
    tables: dict[str, list[TableLabels]] = {}
    for split, names in chosen.files.items():
        read = [
            _labels(files, name, features[name], (image, label), unreadable)
            for name in names
            if name in features
        ]
        tables[split] = [each for each in read if each]
        shards[split] = [Shard(location=each.location, num_rows=len(each.values)) for each in tables[split]]
    if not shards["train"]:
        raise unreadable_files(source, unreadable)
    others = [each for split, table in tables.items() if split != "train" for each in table]
    names, values = combined(tables.pop("train"), others)
    labels = iter(values)
    return RawData(
        splits={
            split: _split(files, each, list(islice(labels, len(each))), image)
            for split, each in shards.items()
        },
        class_names=names,
        unreadable=unreadable,
        ignored={
            **chosen.ignored,
            **{
                str(path): reason
                for path, reason in (_without_named(files, beside, shards, image) | files.skipped).items()
            },
        },
        notes=(*chosen.notes, *name_notes(names)),
        test_is_validation=chosen.test_is_validation,
        description=f"parquet files (columns {image}, {label})",
    )


def choose_files(
    locations: Sequence[str], named: SplitNames | None, where: str, *, own_validation: bool = False
) -> ChosenFiles:
    """Choose the parquet files of the splits by their paths, relative to the source; the training set first.

    Raises:
        DataError: There is no training set, or there are several.

    >>> chosen = choose_files(["train-00000-of-00001.parquet", "holdout-0.parquet"], None, "set")
    >>> chosen.files, chosen.ignored
    ({'train': ['train-00000-of-00001.parquet']}, {'holdout-0.parquet': 'in the split holdout'})
    """
    if named:
        return _named_files(locations, named)
    found = {location: file_split(location) for location in locations}
    configuration = _configuration(found, where)
    inside = {place: each for place, each in found.items() if each.configuration == configuration}
    roles = {each.name: each.role for each in inside.values()}
    chosen = choose_splits(roles, {}, where, own_validation=own_validation)
    used = chosen.by_role()
    return ChosenFiles(
        files={
            split: [place for place, each in inside.items() if each.name == name]
            for split, name in used.items()
        },
        ignored={
            place: f"in the split {each.name}"
            if place in inside
            else f"in another configuration, {_text(each)}"
            for place, each in found.items()
            if place not in inside or each.name not in used.values()
        },
        notes=chosen.notes,
        test_is_validation=chosen.test_is_validation,
    )


def file_split(location: str) -> FileSplit:
    """Return what a path says: the name of the file, or of the nearest folder that names a split, decides.

    >>> [file_split(path).name for path in ("data/train-00000-of-5.parquet", "test/0.parquet", "a.parquet")]
    ['data/train', 'test', 'a']
    """
    *folders, stem = PurePosixPath(location).with_suffix("").parts
    stem = _PART.sub("", stem)
    parts = [*folders, stem]
    place = next((index for index in reversed(range(len(parts))) if role_of(parts[index])), len(parts) - 1)
    aside = any(role_of(part) == "aside" for part in parts)
    return FileSplit(
        name="/".join(parts[: place + 1]),
        role="aside" if aside else role_of(parts[place]),
        configuration=tuple(folder for folder in folders if role_of(folder) is None),
    )


def parquet_files(files: Files) -> list[str]:
    """Return the paths of all regular parquet files; reading a pipe would not end."""
    return [str(path) for path in files.files if is_parquet(path) and not files.unread_reason(path)]


def is_parquet(path: PurePath) -> bool:
    """Return whether a file is named like a parquet file."""
    return path.suffix.lower() in {".parquet", ".pq"}


def image_rows(files: Files, location: str, column: str | None = None) -> tuple[str, int]:
    """Return the column of images of a parquet file, and the number of its rows.

    Args:
        files: The folder that it is in.
        location: Its path in the folder.
        column: The column, if the user names it.

    Raises:
        DataError: It is damaged, or the column is missing or ambiguous.
    """
    with _readable(files, location) as source, _opened(files, location) as file:
        features, count = features_of(file.schema_arrow), file.metadata.num_rows
    return find_image_column(features, source, column, option="--image-column "), count


@contextmanager
def _readable(files: Files, location: str) -> Iterator[Source]:
    """Return a parquet file as a source. Raises DataError if it turns out to be damaged."""
    where = str(PurePath(files.location, location))
    try:
        yield Source(title=location, location=where, signature="", kind="parquet")
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot be read: {reason_of(error)}", where=where, fix="download it again, or remove it"
        ) from error


def has_images(files: Files, location: str, column: str | None = None) -> bool:
    """Return whether a parquet file has a column of images, or that of this name.

    Raises:
        DataError: It is damaged.
    """
    with _readable(files, location):
        features = _read_features(files, location)
    return bool(image_columns(features)) if column is None else column in features


def table_columns(files: Files, source: Source, config: DataConfig) -> tuple[str, str]:
    """Return the image and label column of parquet files.

    Raises:
        DataError: Columns are missing or ambiguous, or the first file is damaged.
    """
    first = choose_files(parquet_files(files), config.splits, source.location).files["train"][0]
    try:
        features = _read_features(files, first)
    except (OSError, ValueError) as error:
        raise unreadable_files(source, {first: reason_of(error)}) from error
    return find_columns(features, source, config)


def unreadable_files(source: Source, unreadable: Mapping[str, str]) -> DataError:
    """Return the error for parquet files that cannot be read."""
    return DataError(
        "; ".join(f"{file} cannot be read: {reason}" for file, reason in unreadable.items()),
        where=source.location,
        fix="download the damaged files again, or remove them",
    )


class ShardImages:
    """The images of shards, in order. Each iteration reads them from disk."""

    def __init__(self, files: Files, shards: Sequence[Shard], column: str) -> None:
        self.files, self.shards, self.column = files, shards, column

    def __len__(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        return self.part(0, len(self))

    def part(self, start: int, stop: int) -> Iterator[Encoded | UnusableImageError]:
        """Yield one item per label, even if a file is damaged and has other rows in each of its columns."""
        lacking = UnusableImageError("unreadable", "the file is damaged: it has fewer images than labels")
        first = 0
        for shard in self.shards:
            begin, end = max(start - first, 0), min(stop - first, shard.num_rows)
            if begin < end:
                rows = row_images(self.files, shard.location, self.column, range(begin, end))
                yield from islice(chain(rows, repeat(lacking)), end - begin)
            first += shard.num_rows


def row_images(
    files: Files, location: str, column: str, rows: range
) -> Iterator[Encoded | UnusableImageError]:
    """Yield the images of successive rows of a parquet file; none for rows that the file does not have."""
    done = 0
    try:
        with _opened(files, location) as file:
            start = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                part = range(max(rows.start - start, 0), min(rows.stop - start, size))
                yield from _group_images(files, file, group, column, part)
                start, done = start + size, done + len(part)
    except (OSError, ValueError) as error:
        yield from [_damaged(error)] * (len(rows) - done)


def _group_images(
    files: Files, file: Any, group: int, column: str, rows: range
) -> Iterator[Encoded | UnusableImageError]:
    """Yield one item per row; damage in one group does not concern the others."""
    if not rows:
        return
    done, start = 0, 0
    try:
        at_once = _rows_at_once(file.metadata.row_group(group), column)
        if isinstance(at_once, UnusableImageError):
            yield from [at_once] * len(rows)
            return
        for batch in file.iter_batches(at_once, row_groups=[group], columns=[column]):
            for cell in batch.column(0)[max(rows.start - start, 0) : rows.stop - start]:
                yield _cell_image(cell, files)
                done += 1
            start += batch.num_rows
            if done == len(rows):
                return
    except (OSError, ValueError) as error:
        yield from [_damaged(error)] * (len(rows) - done)


def _cell_image(cell: Any, files: Files) -> Encoded | UnusableImageError:
    try:
        return encoded_image(cell.as_py(), files.named_image)
    # A path that is no UTF-8.
    except ValueError as error:
        return _damaged(error)


def _rows_at_once(group: Any, column: str) -> int | UnusableImageError:
    """Return how many rows of a row group fit into `MAX_BYTES`, or why none may be read."""
    parts = [group.column(index) for index in range(group.num_columns)]
    parts = [each for each in parts if f"{each.path_in_schema}.".startswith(f"{column}.")]
    size = sum(int(each.total_uncompressed_size) for each in parts)
    stored = sum(int(each.total_compressed_size) for each in parts)
    if size > MAX_BYTES and size > _MAX_RATIO * stored:
        return UnusableImageError("oversized", f"{stored:,} bytes of the file become {size:,}")
    # A value in a dictionary is stored once, however often it occurs.
    repeated = any(each.has_dictionary_page for each in parts)
    row_size = size if repeated else size // max(int(group.num_rows), 1)
    return min(max(MAX_BYTES // max(row_size, 1), 1), _BATCH_ROWS)


class ShardLocations(Sequence[str]):
    """`file, row N` for each image, formatted on access."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.ends = list(accumulate(shard.num_rows for shard in shards))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self.ends, index)
        shard = self.shards[number]
        return f"{shard.location}, row {index - self.ends[number] + shard.num_rows}"


def _other_reason(path: PurePosixPath) -> str:
    images = "beside parquet files, and no row names it"
    return images if is_image_name(path) else "beside parquet files, which are read"


def _without_named(
    files: Files, others: Mapping[PurePosixPath, str], shards: Mapping[str, Sequence[Shard]], image: str
) -> dict[PurePosixPath, str]:
    """Return files beside parquet files, with the reason, without the images that rows name."""
    rest = dict(others)
    if any(map(is_image_name, others)):
        for shard in (each for split in shards.values() for each in split):
            for path in _named_paths(files, shard, image):
                rest.pop(path, None)
    return rest


def _named_paths(files: Files, shard: Shard, image: str) -> Iterator[PurePosixPath]:
    """Yield the paths in the rows of a file, which need not exist."""
    with suppress(OSError, ValueError), _opened(files, shard.location) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[f"{image}.path"]):
            for cell in batch.column(0).to_pylist() if batch.num_columns else ():
                if isinstance(cell, dict) and cell.get("path"):
                    yield PurePosixPath(cell["path"])


def _damaged(error: Exception) -> UnusableImageError:
    return UnusableImageError("unreadable", f"the file is damaged here: {reason_of(error)}")


def _configuration(found: Mapping[str, FileSplit], where: str) -> tuple[str, ...]:
    """Return the configuration with the training set, or the only one."""
    every = list(dict.fromkeys(each.configuration for each in found.values() if each.role != "aside"))
    training = list(dict.fromkeys(each.configuration for each in found.values() if each.role == "train"))
    several = training if len(training) > 1 else (every if not training else ())
    if len(several) > 1:
        names = {each.configuration: each.name for each in reversed(list(found.values()))}
        raise DataError(
            f"found {len(several)} configurations: {', '.join('/'.join(each) or '.' for each in several)}",
            where=where,
            fix=f'name one by the beginning of its paths: data.splits.train="{names[several[0]]}"',
        )
    return (training or every or [()])[0]


def _named_files(locations: Sequence[str], named: SplitNames) -> ChosenFiles:
    files = {}
    for split, prefix in named.by_role().items():
        start = "" if prefix == "." else prefix.removeprefix("./").strip("/")
        rest = {place: place.removeprefix(start) for place in locations if place.startswith(start)}
        files[split] = [
            place for place, end in rest.items() if not start or re.match(r"[-_. ]*\d|/|\.(parquet|pq)$", end)
        ]
        if not files[split]:
            raise DataError(
                f"no parquet file has a path that starts with {prefix!r}",
                where=f"data.splits.{split}",
                fix=f"the first file is {locations[0]}",
            )
    for one, other in combinations(files, 2):
        if set(files[one]) & set(files[other]):
            raise overlap_error(named, one, other)
    used = {place for each in files.values() for place in each}
    ignored = {place: "not named in data.splits" for place in locations if place not in used}
    return ChosenFiles(files=files, ignored=ignored, notes=(), test_is_validation=False)


def _opened(files: Files, location: str) -> Any:
    """Return an open parquet file, for a `with` statement; its row groups need not fit into memory."""
    import pyarrow.parquet

    handle = files.handle(PurePosixPath(location))
    return pyarrow.parquet.ParquetFile(handle, buffer_size=_BUFFER, pre_buffer=False)


def _read_features(files: Files, location: str) -> Mapping[str, Any]:
    import pyarrow.parquet

    return features_of(pyarrow.parquet.read_schema(files.handle(PurePosixPath(location))))


def _labels(
    files: Files,
    location: str,
    features: Mapping[str, Any],
    columns: tuple[str, str],
    unreadable: dict[str, str],
) -> TableLabels | None:
    """Read the labels of a file; None if it is unreadable, with the reason in `unreadable`."""
    import pyarrow.parquet

    label = columns[1]
    if missing := [name for name in columns if name not in features]:
        unreadable[location] = f"no column {missing[0]!r}"
        return None
    try:
        values = _values(
            pyarrow.parquet.read_table(files.handle(PurePosixPath(location)), columns=[label])[label]
        )
    except (OSError, ValueError) as error:
        unreadable[location] = reason_of(error)
        return None
    return TableLabels.of(location, values, declared_names(features[label]))


def _values(column: Any) -> Sequence[Any]:
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        # Few of millions of numbers are Python objects at once.
        starts = range(0, len(column), _LABELS)
        return LabelArray.of(label for at in starts for label in column.slice(at, _LABELS).to_pylist())
    try:
        return list(column.to_pylist())
    # Text that is no UTF-8 in some rows.
    except UnicodeDecodeError:
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return BadLabel("text that is no UTF-8")


def _split(files: Files, shards: Sequence[Shard], labels: Sequence[Sequence[Any]], image: str) -> RawSplit:
    return RawSplit(
        images=ShardImages(files, shards, image),
        labels=LabelArray.joined([LabelArray.of(each) for each in labels]),
        locations=ShardLocations(shards),
        column=lambda name: [value for shard in shards for value in _column(files, shard, name)],
    )


def _column(files: Files, shard: Shard, name: str) -> list[Any]:
    with _opened(files, shard.location) as file:
        if name not in file.schema_arrow.names:
            raise KeyError(name)
        values: list[Any] = file.read(columns=[name])[name].to_pylist()
        return values


def _text(split: FileSplit) -> str:
    return "/".join(split.configuration) or "."
