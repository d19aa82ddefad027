"""Where images come from: the built-in digits, parquet and image folders, and the Hugging Face hub."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsmith.data.config import DataConfig
from convsmith.errors import DataError, suggest

Encoded = bytes | str | NDArray[np.uint8]
SPLIT_NAMES = {"train": "train", "test": "test", "validation": "test", "valid": "test", "val": "test"}
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
HUB_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
NAMES = ("digits", *HUB_NAMES)


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """Images as they come, a file's bytes, its path or its pixels, with one label each."""

    images: Sequence[Encoded]
    labels: list[int]


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A data set before decoding: `"train"` and, where the source has one, `"test"`."""

    splits: Mapping[str, RawSplit]
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place that a data set can be read from. `signature` changes when the place's files do."""

    title: str
    place: str
    signature: str
    kind: str


def find(config: DataConfig) -> Source:
    """Say where a recipe's data set is, without reading it.

    A name is looked up in `$CONVSMITH_DATA`, then on the hub; anything with a slash is a folder if it
    exists, else a name on the hub.

    Raises:
        DataError: No such name or folder, or a folder without images.
    """
    name = config.source
    if name == "digits":
        return Source(title="digits", place="scikit-learn", signature="scikit-learn digits", kind="digits")
    if name in HUB_NAMES:
        return _local_copy(name) or _hub(name, HUB_NAMES[name])
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder.name or str(folder), folder)
    if folder.is_file():
        raise DataError(
            "this is a file, expected a folder",
            where=name,
            fix="give a folder of parquet files, or of images as root/train/<class>/*.png; "
            "archives and pickles are not read",
        )
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _local_copy(name) or _hub(name, name)
    if "/" in name or name.startswith("."):
        raise DataError("no such folder", where=name, fix=_nearest_folder(folder))
    raise DataError(f"unknown data set {name!r}", where="data.source", fix=suggest(name, NAMES))


@contextmanager
def read(source: Source, config: DataConfig) -> Iterator[RawData]:
    """A source's images, still encoded, and its labels; images are read one by one, within the block.

    Raises:
        DataError: Missing, empty or damaged files; columns that are absent or ambiguous.
    """
    if source.kind == "digits":
        yield _read_digits()
    else:
        with _hugging_face_reader(source) as splits:
            yield _raw_data(splits, source, config)


def split_folders(source: Source) -> dict[str, str]:
    """The folders of an image folder's splits, "train" and "test"; "" where the classes lie at the top.

    Raises:
        DataError: The folder is not laid out as it should be.
    """
    root = Path(source.place)
    folders = {path.name.lower(): path.name for path in root.iterdir() if path.is_dir()}
    found = {name: folders.get(name, "") for name in _image_files(root)}
    return {SPLIT_NAMES[name]: folder for name, folder in found.items()}


def table_columns(source: Source, config: DataConfig) -> tuple[str, str, bool]:
    """The image and the label column of a folder of parquet files, and whether the images are marked as such.

    Raises:
        DataError: Columns are absent or ambiguous, or a file is damaged.
    """
    import datasets
    import pyarrow.parquet

    first = next(file for file in _files(Path(source.place)) if file.suffix == ".parquet")
    try:
        features = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(first))
    except (OSError, ValueError) as error:
        raise _reading_failed(source, error) from error
    image = config.image_column or _image_column(features, source)
    label = config.label_column or _label_column(features, source)
    return image, label, isinstance(features.get(image), datasets.Image)


def _local_copy(name: str) -> Source | None:
    root = os.environ.get("CONVSMITH_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise DataError("no such folder", where=f"CONVSMITH_DATA={root}", fix="unset it, or name a folder")
    for candidate in (name, name.rsplit("/", 1)[-1]):
        folder = Path(root) / candidate
        if folder.is_dir():
            return _folder(name, folder)
    return None


def _hub(title: str, hub_id: str) -> Source:
    return Source(title=title, place=hub_id, signature=f"hub {hub_id}", kind="hub")


def _folder(title: str, folder: Path) -> Source:
    folder = folder.resolve()
    files = _files(folder)
    if any(file.suffix == ".parquet" for file in files):
        kind = "parquet"
    elif any(file.suffix.lower() in SUFFIXES for file in files):
        kind = "images"
    else:
        raise DataError(
            f"the folder holds no images ({len(files):,} other files)",
            where=str(folder),
            fix="expected parquet files, or images as root/train/<class>/*.png or root/<class>/*.png",
        )
    stats = [(str(file.relative_to(folder)), (s := file.stat()).st_size, s.st_mtime_ns) for file in files]
    digest = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    return Source(title=title, place=str(folder), signature=f"{kind} {folder} {digest}", kind=kind)


def _files(folder: Path) -> list[Path]:
    """All files below a folder in a fixed order, hidden ones left out."""
    try:
        return sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(folder)) from error


def _nearest_folder(folder: Path) -> str:
    parent = folder.parent
    if not parent.is_dir():
        return f"the folder above it, {parent}, does not exist either"
    siblings = [path.name for path in parent.iterdir() if path.is_dir()]
    return suggest(folder.name, siblings) if siblings else f"{parent} has no folders"


def _read_digits() -> RawData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 17 levels, 0 to 16, spread over the range of a byte.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    split = RawSplit(images=list(images), labels=[int(label) for label in digits.target])
    return RawData(splits={"train": split}, class_names=tuple(map(str, digits.target_names)))


@contextmanager
def _hugging_face_reader(source: Source) -> Iterator[Mapping[str, Any]]:
    """The splits of a source as Hugging Face datasets; local files leave no second copy in its cache."""
    import datasets

    with tempfile.TemporaryDirectory(prefix="convsmith-") as scratch, _quiet(datasets):
        try:
            if source.kind == "hub":
                yield datasets.load_dataset(source.place)
            elif source.kind == "parquet":
                yield datasets.load_dataset(source.place, cache_dir=scratch)
            else:
                yield datasets.load_dataset(
                    "imagefolder",
                    data_files=_image_files(Path(source.place)),
                    drop_labels=False,
                    cache_dir=scratch,
                )
        except DataError:
            raise
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise _reading_failed(source, error) from error


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Its progress bars and log lines off; what matters of them is in our errors."""
    import huggingface_hub.utils.logging as hub_logging

    loggers = (datasets.logging, hub_logging)
    verbosities = [logger.get_verbosity() for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, verbosities, strict=True):
            logger.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()


def _reading_failed(source: Source, error: Exception) -> DataError:
    reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    if source.kind == "hub":
        return DataError(
            f"cannot be read from the Hugging Face hub: {reason[0]}",
            where=source.place,
            fix="check the name and the network, or set CONVSMITH_DATA to a folder with a copy of it",
        )
    return DataError(f"cannot be read: {reason[0]}", where=source.place, fix=_damaged_file(source))


def _damaged_file(source: Source) -> str:
    """Name the parquet file that is no parquet file: the reader's own message does not."""
    import pyarrow.parquet

    for file in _files(Path(source.place)):
        if file.suffix == ".parquet":
            try:
                pyarrow.parquet.read_metadata(file)
            except (OSError, ValueError):
                return f"{file.name} is damaged or no parquet file: fetch it again"
    return "check that the files are whole"


def _image_files(root: Path) -> dict[str, list[str]]:
    """The image files of each split: `root/<split>/<class>/*`, or `root/<class>/*` as one to be split."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if folders and all(folder.name.lower() in SPLIT_NAMES for folder in folders):
        splits = {folder.name.lower(): folder for folder in folders}
        if "train" not in splits:
            raise DataError(
                f"found the splits {', '.join(splits)}, expected one named train",
                where=str(root),
                fix="expected root/train/<class>/*.png",
            )
        if "test" in splits:
            splits = {name: splits[name] for name in ("train", "test")}
    else:
        splits = {"train": root}
    return {name: _class_files(folder) for name, folder in splits.items()}


def _class_files(folder: Path) -> list[str]:
    classes = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    files: list[str] = []
    for path in classes:
        found = [str(file) for file in _files(path) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError("this class folder holds no images", where=str(path), fix="fill it or remove it")
        files += found
    if not classes:
        raise DataError(
            "found no class folders",
            where=str(folder),
            fix="expected one folder a class: train/<class>/*.png",
        )
    return files


def _raw_data(splits: Mapping[str, Any], source: Source, config: DataConfig) -> RawData:
    import datasets

    first = next(iter(splits.values()))
    image = config.image_column or _image_column(first.features, source)
    label = config.label_column or _label_column(first.features, source)
    for column in (image, label):
        if column not in first.features:
            raise DataError(
                f"no column {column!r}, found {_columns(first.features)}",
                where=source.place,
                fix=suggest(column, first.features),
            )
    raw = {}
    for name, split in splits.items():
        target = SPLIT_NAMES.get(name)
        # A validation split serves as the test set only where the source has no other.
        if target is None or (name != "test" and target == "test" and "test" in splits):
            continue
        cells = split.cast_column(image, datasets.Image(decode=False))
        raw[target] = RawSplit(images=_Cells(cells, image), labels=_labels(split[label], source))
    if "train" not in raw:
        raise DataError(f"found the splits {', '.join(splits)}, expected one named train", where=source.place)
    return RawData(splits=raw, class_names=_class_names(first.features[label], raw))


class _Cells(Sequence[Encoded]):
    """The images of a table that is mapped from disk: each is read when it is asked for."""

    def __init__(self, table: Any, column: str) -> None:
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        cell = self.table[index][self.column]
        return cell["bytes"] or cell["path"]


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
        f"{len(found) or 'no'} columns could hold the {what}s, found {_columns(features)}",
        where=source.place,
        fix=f"name it: data.{what}_column={found[0] if found else 'NAME'}",
    )


def _columns(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())


def _labels(values: Any, source: Source) -> list[int]:
    labels: list[int] = []
    for index, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(
                f"label {index} is {value!r}, expected a whole number from 0",
                where=source.place,
                fix="mend the labels, or name another column: data.label_column=NAME",
            )
        labels.append(value)
    return labels


def _class_names(feature: Any, raw: Mapping[str, RawSplit]) -> tuple[str, ...]:
    names = getattr(feature, "names", None)
    if names:
        return tuple(map(str, names))
    return tuple(
        str(index) for index in range(max(max(split.labels, default=0) for split in raw.values()) + 1)
    )
