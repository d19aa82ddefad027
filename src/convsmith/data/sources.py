"""Where images come from: the built-in digits, parquet and image folders, and the Hugging Face hub."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.data.config import DataConfig
from convsmith.data.decode import Encoded, UnusableImageError
from convsmith.data.folders import LAYOUT, everything, is_image, read_image_folder
from convsmith.data.parquet import (
    class_names,
    columns,
    encoded,
    no_training_split,
    parquet_files,
    read_parquet,
)
from convsmith.data.raw import RawData, RawSplit, Source, chosen_splits
from convsmith.errors import DataError, suggest

HUB_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
NAMES = ("digits", *HUB_NAMES)
# The files of CIFAR-10 and CIFAR-100 as their authors publish them.
_PICKLED = re.compile(r"data_batch_\d|test_batch|batches\.meta")


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
            fix=_hint(folder) or f"name a folder: {LAYOUT}, or parquet files",
        )
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~")):
        return _local_copy(name) or _hub(name, name)
    if "/" in name or name.startswith("."):
        raise DataError("no such folder", where=name, fix=_nearest_folder(folder))
    raise DataError(f"unknown data set {name!r}", where="data.source", fix=suggest(name, NAMES))


def read(source: Source, config: DataConfig) -> RawData:
    """A source's images, still encoded, and its labels, as they are found; images are read when asked for.

    Raises:
        DataError: Nothing can be read, or columns are absent or ambiguous.
    """
    match source.kind:
        case "digits":
            return _read_digits()
        case "images":
            return read_image_folder(Path(source.place))
        case "parquet":
            return read_parquet(source, parquet_files(Path(source.place)), config)
        case _:
            return _read_hub(source, config)


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
    files = [path for path in everything(folder) if path.is_file()]
    if any(file.suffix == ".parquet" for file in files):
        kind = "parquet"
    elif any(map(is_image, files)):
        kind = "images"
    else:
        hints = {hint for file in files if (hint := _hint(file))}
        raise DataError(
            f"the folder holds no images ({len(files):,} other files)",
            where=str(folder),
            fix="; ".join(sorted(hints)) or f"{LAYOUT}, or parquet files",
        )
    stats = [(str(file.relative_to(folder)), (s := file.stat()).st_size, s.st_mtime_ns) for file in files]
    digest = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    return Source(title=title, place=str(folder), signature=f"{kind} {folder} {digest}", kind=kind)


def _hint(file: Path) -> str:
    """What to do about a file that is not read; empty where nothing is known of its kind."""
    name = file.name.lower()
    if name.endswith((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")):
        what = "archives are not read: unpack it, and name a folder of images or of parquet files"
    elif name.endswith((".pkl", ".pickle", ".pt", ".pth")) or _PICKLED.fullmatch(name):
        what = "pickles are not read, since they can run code: name a folder of images or of parquet files"
    elif name.endswith((".npy", ".npz", ".mat", ".h5", ".hdf5", "-ubyte")):
        what = "arrays are not read: name a folder of images or of parquet files"
    else:
        return ""
    known = next((title for title in ("cifar10", "mnist") if title in re.sub(r"[^a-z0-9]", "", name)), "")
    if _PICKLED.fullmatch(name):
        known = "cifar10"
    elif name.endswith("-ubyte") or "-ubyte." in name:
        known = "mnist"
    return f"{what}, for example data.source={known}" if known else what


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
    places = [f"image {index}" for index in range(len(images))]
    split = RawSplit(images=list(images), labels=[int(each) for each in digits.target], places=places)
    return RawData(splits={"train": split}, class_names=tuple(map(str, digits.target_names)))


def _read_hub(source: Source, config: DataConfig) -> RawData:
    import datasets

    with _quiet(datasets):
        try:
            splits = datasets.load_dataset(source.place)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"cannot be read from the Hugging Face hub: {reason[0]}",
                where=source.place,
                fix="check the name and the network, or set CONVSMITH_DATA to a folder with a copy of it",
            ) from error
        features = next(iter(splits.values())).features
        image, label = columns(features, source, config)
        used = chosen_splits(list(splits))
        raw = {target: _hub_split(splits[name], name, image, label) for name, target in used.items()}
    if "train" not in raw:
        raise no_training_split(source, list(splits))
    return RawData(splits=raw, class_names=class_names(features[label], raw, source))


def _hub_split(table: Any, name: str, image: str, label: str) -> RawSplit:
    import datasets

    return RawSplit(
        images=_Cells(table.cast_column(image, datasets.Image(decode=False)), image),
        labels=list(table[label]),
        places=[f"{name}, row {index}" for index in range(len(table))],
    )


class _Cells:
    """The images of a table that is mapped from disk: each is read when it is asked for."""

    def __init__(self, table: Any, column: str) -> None:
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        for row in self.table:
            yield encoded(row[self.column], None)


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
