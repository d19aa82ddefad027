"""The binary versions of CIFAR-10, CIFAR-100 and STL-10: rows of bytes without a header."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from convsmith.data.arrays.lazy import DAMAGE, LazyArray, damaged
from convsmith.data.arrays.pixels import ArrayImages, PixelRule
from convsmith.data.config import DataConfig
from convsmith.data.files.storage import Files
from convsmith.data.labels import TableLabels, combined
from convsmith.data.raw import NumberedLocations, RawData, RawSplit
from convsmith.data.splits import no_validation_error
from convsmith.errors import DataError, FileError

_BATCHES = re.compile(r"data_batch_\d+\.bin", re.IGNORECASE)
_PIXELS = 3 * 32 * 32
_STL_PIXELS = 3 * 96 * 96
_ROWS = 2048
_MAX_NAMES = 2**20
_AGAIN = "download it again"


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A distribution.

    Attributes:
        files: Of each split, the patterns of its files.
        names: The file with the names of the classes.
        labels: The bytes before each image; the last one is the class that is read.
        channels: The order of the axes of an image.
    """

    title: str
    files: Mapping[str, re.Pattern[str]]
    names: str
    labels: int


CIFAR_10 = _Kind(
    title="CIFAR-10, binary version",
    files={"train": _BATCHES, "test": re.compile(r"test_batch\.bin", re.IGNORECASE)},
    names="batches.meta.txt",
    labels=1,
)
CIFAR_100 = _Kind(
    title="CIFAR-100, binary version",
    files={
        "train": re.compile(r"train\.bin", re.IGNORECASE),
        "test": re.compile(r"test\.bin", re.IGNORECASE),
    },
    names="fine_label_names.txt",
    labels=2,
)
STL_10 = _Kind(
    title="STL-10, binary version",
    files={
        "train": re.compile(r"train_X\.bin", re.IGNORECASE),
        "test": re.compile(r"test_X\.bin", re.IGNORECASE),
    },
    names="class_names.txt",
    labels=0,
)
_KINDS = (CIFAR_10, CIFAR_100, STL_10)


def is_binary(path: PurePath) -> bool:
    """Return whether a file is named like the training set of CIFAR or STL-10, binary version.

    >>> is_binary(PurePath("data_batch_1.bin")), is_binary(PurePath("data_batch_1"))
    (True, False)
    """
    return any(kind.files["train"].fullmatch(path.name) for kind in _KINDS)


def read_binary(files: Files, config: DataConfig) -> RawData:
    """Return the images and labels of CIFAR-10, CIFAR-100 (fine labels) or STL-10 in their binary version.

    Formats: https://www.cs.toronto.edu/~kriz/cifar.html and https://cs.stanford.edu/~acoates/stl10/

    Raises:
        DataError: A file is missing or damaged, or has another size than whole images.
    """
    regular = [path for path in files.files if not files.unread_reason(path)]
    kind = next(kind for kind in _KINDS if any(kind.files["train"].fullmatch(path.name) for path in regular))
    if config.own_validation:
        raise no_validation_error("train, test", files.location)
    found = {
        split: [path for path in regular if pattern.fullmatch(path.name)]
        for split, pattern in kind.files.items()
    }
    folders = {path.parent for each in found.values() for path in each}
    if len(folders) > 1:
        listed = ", ".join(sorted(map(str, folders)))
        raise DataError(
            f"found {kind.title} in several folders: {listed}", where=files.location, fix="name one"
        )
    folder = folders.pop()
    files.prepare([path for each in found.values() for path in each])
    names = _class_names(files, folder / kind.names)
    read = _read_stl if kind is STL_10 else partial(_read_cifar, kind)
    parts = {split: [read(files, path) for path in each] for split, each in found.items() if each}
    labels = {
        split: TableLabels.of(each[0].location, [label for part in each for label in part.labels], names)
        for split, each in parts.items()
    }
    train, *rest = labels.values()
    class_names, values = combined([train], rest)
    used = {path for each in found.values() for path in each} | {folder / kind.names}
    used |= {_labels_of(path) for path in used} if kind is STL_10 else set()
    others = {path: "beside the binary files, which are read" for path in files.files if path not in used}
    return RawData(
        splits={
            split: _split(each, value) for (split, each), value in zip(parts.items(), values, strict=True)
        },
        class_names=class_names,
        ignored={str(path): why for path, why in (others | files.skipped).items()},
        description=kind.title,
    )


@dataclass(frozen=True, kw_only=True)
class _File:
    location: str
    images: LazyArray
    labels: Sequence[int]


class _Locations(Sequence[str]):
    def __init__(self, parts: Sequence[NumberedLocations]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        for part in self.parts:
            if index < len(part):
                return str(part[index])
            index -= len(part)
        raise IndexError(index)


class _Images:
    """The images of several files, in order."""

    def __init__(self, parts: Sequence[ArrayImages]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[object]:
        return self.part(0, len(self))

    def part(self, start: int, stop: int) -> Iterator[object]:
        first = 0
        for images in self.parts:
            if first < stop and first + len(images) > start:
                yield from images.part(max(start - first, 0), min(stop - first, len(images)))
            first += len(images)


def _split(files: Sequence[_File], labels: Sequence[object]) -> RawSplit:
    rule = PixelRule(channels="first", scale="levels")
    return RawSplit(
        images=_Images([ArrayImages(each.images, rule) for each in files]),  # type: ignore[arg-type]
        labels=labels,
        locations=_Locations([NumberedLocations(each.location, "image", len(each.images)) for each in files]),
    )


def _read_cifar(kind: _Kind, files: Files, path: PurePosixPath) -> _File:
    row = kind.labels + _PIXELS
    count = _rows_of(files, path, row)
    location, where = str(path), f"{files.location}/{path}"

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for rows in _rows(files, path, row):
            yield rows[:, kind.labels :].reshape(-1, 3, 32, 32)

    try:
        labels = [int(label) for rows in _rows(files, path, row) for label in rows[:, kind.labels - 1]]
    except DAMAGE as error:
        raise damaged(where, error) from error
    images = LazyArray(
        location=location, shape=(count, 3, 32, 32), dtype=np.dtype(np.uint8), blocks=blocks, file=where
    )
    return _File(location=location, images=images, labels=labels)


def _read_stl(files: Files, path: PurePosixPath) -> _File:
    count = _rows_of(files, path, _STL_PIXELS)
    location, other, where = str(path), _labels_of(path), f"{files.location}/{path}"
    if other not in files.files or files.unread_reason(other):
        raise DataError(f"found no file of the labels, {other.name}", where=where, fix=f"add {other.name}")
    labels = files.read(other, 2**24)
    if len(labels) != count:
        raise DataError(
            f"found {len(labels):,} labels in {other.name} for {count:,} images", where=where, fix=_AGAIN
        )

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for rows in _rows(files, path, _STL_PIXELS):
            # Columns are stored one after another.
            yield rows.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)

    images = LazyArray(
        location=location, shape=(count, 3, 96, 96), dtype=np.dtype(np.uint8), blocks=blocks, file=where
    )
    # Classes are counted from 1.
    return _File(location=location, images=images, labels=[label - 1 for label in labels])


def _labels_of(path: PurePosixPath) -> PurePosixPath:
    return path.with_name(re.sub(r"_X\.bin$", "_y.bin", path.name, flags=re.IGNORECASE))


def _rows_of(files: Files, path: PurePosixPath, row: int) -> int:
    """Return the number of rows of a file; raise DataError unless it is whole."""
    size = files.size(path)
    if not size or size % row:
        raise DataError(
            f"found {size:,} bytes, expected a multiple of {row:,}: one image and its labels",
            where=f"{files.location}/{path}",
            fix=_AGAIN,
        )
    return size // row


def _rows(files: Files, path: PurePosixPath, row: int) -> Iterator[NDArray[np.uint8]]:
    with files.open(path) as file:
        while content := file.read(_ROWS * row):
            if len(content) % row:
                raise EOFError("the file ends within an image")
            yield np.frombuffer(content, np.uint8).reshape(-1, row)


def _class_names(files: Files, path: PurePosixPath) -> list[str] | None:
    """Return the names of the classes, one a line; None without the file."""
    if path not in files.files or files.unread_reason(path):
        return None
    where, fix = f"{files.location}/{path}", "remove it, or download it again"
    try:
        text = files.read(path, _MAX_NAMES).decode("utf-8-sig")
    except FileError as error:
        raise DataError(error.problems[0].what, where=where, fix=fix) from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text: {error.reason} at byte {error.start}"
        raise DataError(what, where=where, fix=fix) from error
    return [line.strip() for line in text.splitlines() if line.strip()] or None
