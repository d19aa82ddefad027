"""Parquet folders in the layout of the Hugging Face hub; rows are read in order, in small batches."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.decode import Encoded, UnusableImageError
from convsmith.data.folders import list_files
from convsmith.data.raw import RawData, RawSplit, Source, is_class_index, select_splits
from convsmith.errors import DataError, suggest

# Rows in memory at once.
_BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A readable parquet file; `location` is its path relative to the source."""

    path: Path
    location: str
    num_rows: int
    labels: list[Any]


def read_parquet(source: Source, files: Sequence[Path], config: DataConfig) -> RawData:
    """Return the rows of a folder's parquet files, by split.

    The name of a file, or of the folder it is in, determines its split; the default is train.

    Raises:
        DataError: No file can be read, or columns are missing or ambiguous.
    """
    import datasets
    import pyarrow.parquet

    root = Path(source.location)
    unreadable: dict[str, str] = {}
    schemas = {}
    for path in files:
        try:
            schemas[path] = pyarrow.parquet.read_schema(path)
        except (OSError, ValueError) as error:
            unreadable[str(path.relative_to(root))] = _reason(error)
    if not schemas:
        raise unreadable_files(source, unreadable)
    features = datasets.Features.from_arrow_schema(next(iter(schemas.values())))
    image, label = find_columns(features, source, config)
    shards: dict[str, list[Shard]] = {}
    for path, schema in schemas.items():
        location = str(path.relative_to(root))
        if missing := [name for name in (image, label) if name not in schema.names]:
            unreadable[location] = f"no column {missing[0]!r}"
            continue
        try:
            labels = pyarrow.parquet.read_table(path, columns=[label])[label].to_pylist()
        except (OSError, ValueError) as error:
            unreadable[location] = _reason(error)
        else:
            shard = Shard(path=path, location=location, num_rows=len(labels), labels=labels)
            shards.setdefault(split_of(location), []).append(shard)
    used = select_splits(list(shards))
    raw = {target: _split(shards[name], image, root) for name, target in used.items()}
    if "train" not in raw:
        if unreadable:
            raise unreadable_files(source, unreadable)
        raise missing_train_split(source, list(shards))
    return RawData(splits=raw, class_names=class_names(features[label], raw, source), unreadable=unreadable)


def parquet_files(folder: Path) -> list[Path]:
    """Return all parquet files below a folder, sorted."""
    return [path for path in list_files(folder) if path.suffix == ".parquet"]


def table_columns(source: Source, config: DataConfig) -> tuple[str, str, bool]:
    """Return the image and label column of parquet files, and whether the images have the type Image.

    Raises:
        DataError: Columns are missing or ambiguous, or the first file is damaged.
    """
    import datasets
    import pyarrow.parquet

    first = parquet_files(Path(source.location))[0]
    try:
        features = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(first))
    except (OSError, ValueError) as error:
        raise unreadable_files(source, {first.name: _reason(error)}) from error
    image, label = find_columns(features, source, config)
    return image, label, isinstance(features.get(image), datasets.Image)


def unreadable_files(source: Source, unreadable: Mapping[str, str]) -> DataError:
    """Return the error for parquet files that cannot be read."""
    return DataError(
        "; ".join(f"{file} cannot be read: {reason}" for file, reason in unreadable.items()),
        where=source.location,
        fix="download the damaged files again, or remove them",
    )


def missing_train_split(source: Source, splits: Sequence[str]) -> DataError:
    return DataError(f"found the splits {', '.join(splits)}, expected one named train", where=source.location)


def split_of(location: str) -> str:
    """Return the split that a file's name or its nearest named parent folder indicates.

    >>> [split_of(path) for path in ("data/train-00000-of-00005.parquet", "test/0.parquet", "a.parquet")]
    ['train', 'test', 'train']
    """
    names = {
        "train": ("train", "training"),
        "test": ("test", "testing", "eval", "evaluation"),
        "validation": ("validation", "valid", "val", "dev"),
    }
    for part in reversed(Path(location).with_suffix("").parts):
        words = re.split(r"[^a-z]+", part.lower())
        for name, synonyms in names.items():
            if any(word in synonyms for word in words):
                return name
    return "train"


class ShardImages:
    """The images of shards, in order. Each iteration reads them from disk."""

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
        """Yield one item per label, even if the file is damaged."""
        import pyarrow.parquet

        done = 0
        try:
            with pyarrow.parquet.ParquetFile(shard.path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=[self.column]):
                    for cell in batch.column(0).to_pylist():
                        yield encoded_image(cell, self.root)
                        done += 1
        except (OSError, ValueError) as error:
            damaged = UnusableImageError("unreadable", f"the file is damaged here: {_reason(error)}")
            for _ in range(done, shard.num_rows):
                yield damaged


class ShardLocations(Sequence[str]):
    """`file, row N` for each image, formatted on access."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    def __getitem__(self, index: Any) -> Any:
        for shard in self.shards:
            if index < shard.num_rows:
                return f"{shard.location}, row {index}"
            index -= shard.num_rows
        raise IndexError(index)


def encoded_image(cell: Any, root: Path | None) -> Encoded | UnusableImageError:
    """Return the image of a cell: its bytes, or the path that it names, which must be inside `root`."""
    if isinstance(cell, dict):
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes):
            return content
        if isinstance(path, str):
            inside = root is None or (root / path).resolve().is_relative_to(root.resolve())
            return str(root / path if root else path) if inside else _outside(path)
    return cell if isinstance(cell, bytes) else None


def _outside(path: str) -> UnusableImageError:
    return UnusableImageError("unreadable", f"no image, only a path outside the data set: {path}")


def find_columns(features: Mapping[str, Any], source: Source, config: DataConfig) -> tuple[str, str]:
    """Return the names of the image and label column: the configured ones, or the only ones of their type.

    Raises:
        DataError: They are missing or ambiguous.
    """
    image = config.image_column or _image_column(features, source)
    label = config.label_column or _label_column(features, source)
    for column in (image, label):
        if column not in features:
            raise DataError(
                f"no column {column!r}, found {_describe(features)}",
                where=source.location,
                fix=suggest(column, features),
            )
    return image, label


def class_names(feature: Any, raw: Mapping[str, RawSplit], source: Source) -> tuple[str, ...]:
    """Return the class names that a label column declares, or the numbers from 0 to the largest label.

    Raises:
        DataError: The largest label exceeds the number of images, so most classes would be empty.
    """
    names = getattr(feature, "names", None)
    if names:
        return tuple(map(str, names))
    labels = [label for split in raw.values() for label in split.labels if is_class_index(label)]
    count = max(labels, default=0) + 1
    if count > len(labels):
        raise DataError(
            f"found labels up to {count - 1:,} for {len(labels):,} images, "
            "expected class indices from 0 without gaps",
            where=source.location,
            fix="correct the labels, or name another column: data.label_column=NAME",
        )
    return tuple(map(str, range(count)))


def _split(shards: Sequence[Shard], image: str, root: Path) -> RawSplit:
    return RawSplit(
        images=ShardImages(shards, image, root),
        labels=[label for shard in shards for label in shard.labels],
        locations=ShardLocations(shards),
    )


def _image_column(features: Mapping[str, Any], source: Source) -> str:
    import datasets

    names = [
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))
    ]
    return _only(names, "image", features, source)


def _label_column(features: Mapping[str, Any], source: Source) -> str:
    import datasets

    names = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not names:
        names = [
            name
            for name, feature in features.items()
            if str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
        ]
    return _only(names, "label", features, source)


def _only(names: list[str], content: str, features: Mapping[str, Any], source: Source) -> str:
    if len(names) == 1:
        return names[0]
    raise DataError(
        f"{len(names) or 'no'} columns could hold the {content}s, found {_describe(features)}",
        where=source.location,
        fix=f"name it: data.{content}_column={names[0] if names else 'NAME'}",
    )


def _describe(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
