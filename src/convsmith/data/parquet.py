"""Parquet folders, as the Hugging Face hub has them: rows are read in order, a few at a time."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.decode import Encoded, UnusableImageError
from convsmith.data.folders import everything
from convsmith.data.raw import RawData, RawSplit, Source, chosen_splits, is_label
from convsmith.errors import DataError, suggest

# How many rows are in memory at once.
_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A parquet file that can be read; `place` is its path below the source's."""

    path: Path
    place: str
    num_rows: int
    labels: list[Any]


def read_parquet(source: Source, files: Sequence[Path], config: DataConfig) -> RawData:
    """The rows of a folder's parquet files, by split.

    Which split a file belongs to is told by its name, or by the folder that it is in; train if nothing tells.

    Raises:
        DataError: No file can be read, or columns are absent or ambiguous.
    """
    import datasets
    import pyarrow.parquet

    root = Path(source.place)
    unreadable: dict[str, str] = {}
    schemas = {}
    for path in files:
        try:
            schemas[path] = pyarrow.parquet.read_schema(path)
        except (OSError, ValueError) as error:
            unreadable[str(path.relative_to(root))] = _reason(error)
    if not schemas:
        raise damaged_files(source, unreadable)
    features = datasets.Features.from_arrow_schema(next(iter(schemas.values())))
    image, label = columns(features, source, config)
    shards: dict[str, list[Shard]] = {}
    for path, schema in schemas.items():
        place = str(path.relative_to(root))
        if missing := [name for name in (image, label) if name not in schema.names]:
            unreadable[place] = f"no column {missing[0]!r}"
            continue
        try:
            labels = pyarrow.parquet.read_table(path, columns=[label])[label].to_pylist()
        except (OSError, ValueError) as error:
            unreadable[place] = _reason(error)
        else:
            shard = Shard(path=path, place=place, num_rows=len(labels), labels=labels)
            shards.setdefault(split_of(place), []).append(shard)
    used = chosen_splits(list(shards))
    raw = {target: _split(shards[name], image, root) for name, target in used.items()}
    if "train" not in raw:
        if unreadable:
            raise damaged_files(source, unreadable)
        raise no_training_split(source, list(shards))
    return RawData(splits=raw, class_names=class_names(features[label], raw, source), unreadable=unreadable)


def parquet_files(folder: Path) -> list[Path]:
    """All parquet files below a folder, in a fixed order."""
    return [path for path in everything(folder) if path.suffix == ".parquet"]


def table_columns(source: Source, config: DataConfig) -> tuple[str, str, bool]:
    """The image and the label column of parquet files, and whether the images are marked as such.

    Raises:
        DataError: Columns are absent or ambiguous, or the first file is damaged.
    """
    import datasets
    import pyarrow.parquet

    first = parquet_files(Path(source.place))[0]
    try:
        features = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(first))
    except (OSError, ValueError) as error:
        raise damaged_files(source, {first.name: _reason(error)}) from error
    image, label = columns(features, source, config)
    return image, label, isinstance(features.get(image), datasets.Image)


def damaged_files(source: Source, unreadable: Mapping[str, str]) -> DataError:
    """The error for files that hold images and cannot be read."""
    return DataError(
        "; ".join(f"{place} cannot be read: {reason}" for place, reason in unreadable.items()),
        where=source.place,
        fix="fetch what is damaged again, or remove it",
    )


def no_training_split(source: Source, found: Sequence[str]) -> DataError:
    return DataError(f"found the splits {', '.join(found)}, expected one named train", where=source.place)


def split_of(place: str) -> str:
    """The split that a file's name tells of, else the folders that it is in, the nearest first.

    >>> [split_of(place) for place in ("data/train-00000-of-00005.parquet", "test/0.parquet", "a.parquet")]
    ['train', 'test', 'train']
    """
    words = {
        "train": ("train", "training"),
        "test": ("test", "testing", "eval", "evaluation"),
        "validation": ("validation", "valid", "val", "dev"),
    }
    for part in reversed(Path(place).with_suffix("").parts):
        told = re.split(r"[^a-z]+", part.lower())
        for name, spellings in words.items():
            if any(word in spellings for word in told):
                return name
    return "train"


class ShardImages:
    """The images of shards in order. Nothing is kept; each pass reads them again."""

    def __init__(self, shards: Sequence[Shard], column: str, root: Path) -> None:
        self.shards, self.column, self.root = shards, column, root

    def __len__(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        for shard in self.shards:
            yield from self._images(shard)

    def _images(self, shard: Shard) -> Iterator[Encoded | UnusableImageError]:
        """As many as there are labels, whatever happens on the way."""
        import pyarrow.parquet

        done = 0
        try:
            with pyarrow.parquet.ParquetFile(shard.path) as file:
                for batch in file.iter_batches(_ROWS, columns=[self.column]):
                    for cell in batch.column(0).to_pylist():
                        yield encoded(cell, self.root)
                        done += 1
        except (OSError, ValueError) as error:
            damaged = UnusableImageError("unreadable", f"the file is damaged here: {_reason(error)}")
            for _ in range(done, shard.num_rows):
                yield damaged


class ShardPlaces(Sequence[str]):
    """`file, row N` for each image, worked out when it is asked for."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def __getitem__(self, index: Any) -> Any:
        for shard in self.shards:
            if index < shard.num_rows:
                return f"{shard.place}, row {index}"
            index -= shard.num_rows
        raise IndexError(index)


def encoded(cell: Any, root: Path | None) -> Encoded | UnusableImageError:
    """The image in a cell: its bytes, or a file that it names, below `root` where there is one."""
    if isinstance(cell, dict):
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return content
        if isinstance(path, str):
            inside = root is None or (root / path).resolve().is_relative_to(root.resolve())
            return str(root / path if root else path) if inside else _outside(path)
    return cell if isinstance(cell, bytes) else None


def _outside(path: str) -> UnusableImageError:
    return UnusableImageError("unreadable", f"there is no image, only the name of another place: {path}")


def columns(features: Mapping[str, Any], source: Source, config: DataConfig) -> tuple[str, str]:
    """The names of the image and label columns: those that were asked for, or the only ones of their type.

    Raises:
        DataError: They are absent or ambiguous.
    """
    image = config.image_column or _image_column(features, source)
    label = config.label_column or _label_column(features, source)
    for column in (image, label):
        if column not in features:
            raise DataError(
                f"no column {column!r}, found {_described(features)}",
                where=source.place,
                fix=suggest(column, features),
            )
    return image, label


def class_names(feature: Any, raw: Mapping[str, RawSplit], source: Source) -> tuple[str, ...]:
    """The names that a label column declares, else the numbers from 0 to the largest label.

    Raises:
        DataError: There are more numbers than images, so that most classes would be empty.
    """
    names = getattr(feature, "names", None)
    if names:
        return tuple(map(str, names))
    labels = [label for split in raw.values() for label in split.labels if is_label(label)]
    count = max(labels, default=0) + 1
    if count > len(labels):
        raise DataError(
            f"labels go up to {count - 1:,}, and there are {len(labels):,} images; "
            "expected the numbers of the classes from 0, without gaps",
            where=source.place,
            fix="mend the labels, or name another column: data.label_column=NAME",
        )
    return tuple(map(str, range(count)))


def _split(shards: Sequence[Shard], image: str, root: Path) -> RawSplit:
    return RawSplit(
        images=ShardImages(shards, image, root),
        labels=[label for shard in shards for label in shard.labels],
        places=ShardPlaces(shards),
    )


def _image_column(features: Mapping[str, Any], source: Source) -> str:
    import datasets

    found = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))
    ]
    return _only(found, "image", features, source)


def _label_column(features: Mapping[str, Any], source: Source) -> str:
    import datasets

    found = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not found:
        found = [
            name
            for name, feature in features.items()
            if str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
        ]
    return _only(found, "label", features, source)


def _only(found: list[str], what: str, features: Mapping[str, Any], source: Source) -> str:
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{len(found) or 'no'} columns could hold the {what}s, found {_described(features)}",
        where=source.place,
        fix=f"name it: data.{what}_column={found[0] if found else 'NAME'}",
    )


def _described(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
