"""IDX files, the format of MNIST: images and labels of a split in two files, packed by gzip or not."""

import gzip
import math
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import IO, Any

import numpy as np

from convsmith.data.config import SplitNames
from convsmith.data.files.storage import Files
from convsmith.data.hub.columns import reason_of
from convsmith.data.images.decode import MAX_PIXELS, Encoded, UnusableImageError
from convsmith.data.labels import TableLabels, combined
from convsmith.data.raw import NumberedLocations, RawData, RawSplit
from convsmith.data.splits import Chosen, choose_splits, named_splits, role_of
from convsmith.errors import DataError
from convsmith.system.archives import ArchiveError

# train-images-idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte
_NAME = re.compile(r"(.*?)[-_. ]*(images|labels)[-_. ]idx([13])[-_. ]ubyte(\.gz)?", re.IGNORECASE)
# Unsigned bytes; the rest of the first four bytes is the number of dimensions.
_MAGIC = b"\0\0\x08"
_MAX_LABELS = 50_000_000
_DAMAGE = (OSError, EOFError, ValueError, zlib.error)


def is_idx(path: PurePath) -> bool:
    """Return whether a file is named like an IDX file of images or labels.

    >>> is_idx(PurePath("t10k-images-idx3-ubyte.gz")), is_idx(PurePath("images.gz"))
    (True, False)
    """
    return _NAME.fullmatch(path.name) is not None


def is_idx_images(path: PurePath) -> bool:
    """Return whether a file is named like an IDX file of images.

    >>> is_idx_images(PurePath("train-images-idx3-ubyte")), is_idx_images(PurePath("train-labels-idx1-ubyte"))
    (True, False)
    """
    match = _NAME.fullmatch(path.name)
    return match is not None and match[2].lower() == "images"


def read_idx(files: Files, named: SplitNames | None = None, *, own_validation: bool = False) -> RawData:
    """Return the images and labels of IDX files, by split.

    The pixels of a packed file are unpacked one image at a time.

    Args:
        files: Of a folder or an archive.
        named: The splits by the beginnings of the files' names, if the recipe names them.
        own_validation: Whether the validation split is used as such.

    Raises:
        DataError: A file is missing or damaged, or splits are missing or ambiguous.
    """
    # Reading a pipe would not end.
    found = [path for path in files.files if is_idx(path) and not files.unread_reason(path)]
    files.prepare(found)
    pairs, ignored = _pairs(files, found)
    others = {path: "beside IDX files, which are read" for path in files.files if path not in set(found)}
    ignored |= {str(path): reason for path, reason in (others | files.skipped).items()}
    chosen = _choose(pairs, named, files.location, own_validation=own_validation)
    used = chosen.by_role()
    labels = {split: _labels(files, pairs[name]["labels"]) for split, name in used.items()}
    train, *rest = labels.values()
    names, values = combined([train], rest)
    splits = {
        split: _split(files, pairs[name]["images"], each)
        for (split, name), each in zip(used.items(), values, strict=True)
    }
    for name, pair in pairs.items():
        if name not in used.values():
            ignored |= {str(path): f"in the split {name}" for path in pair.values()}
    return RawData(
        splits=splits,
        class_names=names,
        ignored=ignored,
        notes=chosen.notes,
        test_is_validation=chosen.test_is_validation,
        description="IDX files",
    )


@dataclass(frozen=True, kw_only=True)
class IdxImages:
    """The images of a file, in order. Each iteration reads them from disk."""

    files: Files
    path: PurePosixPath
    count: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.count

    def __contains__(self, item: object) -> bool:
        return any(item is image for image in self)

    def __iter__(self) -> Iterator[Encoded | UnusableImageError]:
        """Yield one item per label, even if the file is damaged.

        Raises:
            DataError: A checksum is wrong. It covers all images, so that none is known to be whole.
        """
        done, reason = 0, "the file ends before this image"
        try:
            with _opened(self.files, self.path) as file:
                file.read(4 * 4)
                length = math.prod(self.size)
                while done < self.count and len(pixels := file.read(length)) == length:
                    yield np.frombuffer(pixels, dtype=np.uint8).reshape(self.size)
                    done += 1
                # To the end, where the checksum of a packed file is compared.
                file.read(1)
        except (gzip.BadGzipFile, ArchiveError) as error:
            raise _damaged(self.files, self.path, reason_of(error)) from error
        except _DAMAGE as error:
            reason = f"the file is damaged here: {reason_of(error)}"
        yield from [UnusableImageError("unreadable", reason)] * (self.count - done)


def _pairs(
    files: Files, found: Collection[PurePosixPath]
) -> tuple[dict[str, dict[str, PurePosixPath]], dict[str, str]]:
    """Return the file of images and that of labels of each split, and files that are there twice.

    A split is named by the beginning of its files' names, and by their folder if another has the same name.
    """
    places: dict[tuple[str, str], set[PurePosixPath]] = {}
    for path in found:
        places.setdefault(_name(path), set()).add(_folder(path))
    repeated = {prefix for (prefix, _), folders in places.items() if len(folders) > 1}
    pairs: dict[str, dict[str, PurePosixPath]] = {}
    ignored = {}
    # Unpacked files first.
    for path in sorted(found, key=lambda each: (each.suffix.lower() == ".gz", each)):
        prefix, part = _name(path)
        folder = _folder(path) if prefix in repeated else PurePosixPath()
        pair = pairs.setdefault((folder / prefix).as_posix(), {})
        if pair.setdefault(part, path) != path:
            ignored[str(path)] = "an IDX file of the same name is read"
    for name, pair in pairs.items():
        for part in ("images", "labels"):
            if part not in pair:
                (other,) = pair.values()
                raise DataError(
                    f"found no file of the {part} of {name!r}, only {other}",
                    where=files.location,
                    fix=f"add {_counterpart(other.name)} to its folder, packed or not",
                )
    return pairs, ignored


def _name(path: PurePath) -> tuple[str, str]:
    """Return what the name of an IDX file says: the split, and `"images"` or `"labels"`."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return match[1], match[2].lower()


def _folder(path: PurePosixPath) -> PurePosixPath:
    """Return the folder of a file; some archives put each file into a folder of its own name."""
    return path.parent.parent if is_idx(path.parent) else path.parent


def _counterpart(name: str) -> str:
    """Return the name of the labels of a file of images, or the reverse.

    >>> _counterpart("train-images.idx3-ubyte.gz")
    'train-labels.idx1-ubyte'
    """
    match = _NAME.fullmatch(name)
    assert match is not None
    part, dimensions = ("labels", "1") if match[2].lower() == "images" else ("images", "3")
    end = name[match.end(2) : match.start(3)] + dimensions + name[match.end(3) :]
    return name[: match.start(2)] + part + end.removesuffix(match[4] or "")


def _choose(
    pairs: Mapping[str, object], named: SplitNames | None, where: str, *, own_validation: bool
) -> Chosen:
    if named:
        return named_splits(named, pairs)
    ends = {name: name.rpartition("/")[2] for name in pairs}
    # MNIST's test set is a sample of 10,000.
    roles = {name: role_of(end) or ("test" if "t10k" in end.lower() else None) for name, end in ends.items()}
    return choose_splits(roles, {}, where, own_validation=own_validation)


def _labels(files: Files, path: PurePosixPath) -> TableLabels:
    (count,) = _header(files, path, 1)
    if count > _MAX_LABELS:
        what = f"found {count:,} labels by its header, expected at most {_MAX_LABELS:,}"
        raise _damaged(files, path, what)
    try:
        with _opened(files, path) as file:
            content = file.read(8 + count + 1)[8:]
    except _DAMAGE as error:
        raise _damaged(files, path, reason_of(error)) from error
    if len(content) != count:
        what = "more" if len(content) > count else f"{len(content):,}"
        raise _damaged(files, path, f"found {what} labels, expected {count:,} by its header")
    return TableLabels.of(str(path), list(content))


def idx_images(files: Files, path: PurePosixPath) -> IdxImages:
    """Return the images of a file.

    Raises:
        DataError: It is damaged, or has images that are too large.
    """
    count, height, width = _header(files, path, 3)
    if not 0 < height * width <= MAX_PIXELS:
        what = f"found images of {height:,}x{width:,} pixels, expected at most {MAX_PIXELS:,}"
        raise _damaged(files, path, what)
    return IdxImages(files=files, path=path, count=count, size=(height, width))


def _split(files: Files, path: PurePosixPath, labels: Sequence[Any]) -> RawSplit:
    images = idx_images(files, path)
    if len(images) != len(labels):
        raise _damaged(files, path, f"found {len(images):,} images by its header for {len(labels):,} labels")
    return RawSplit(
        images=images, labels=labels, locations=NumberedLocations(str(path), "image", len(images))
    )


def _header(files: Files, path: PurePosixPath, dimensions: int) -> tuple[int, ...]:
    length = 4 * (dimensions + 1)
    content = b""
    try:
        with _opened(files, path) as file:
            content = file.read(length)
    except ArchiveError as error:
        raise _damaged(files, path, reason_of(error)) from error
    except _DAMAGE:
        pass
    if len(content) < length or content[:4] != _MAGIC + bytes([dimensions]):
        raise _damaged(
            files, path, f"its first bytes are {content[:4].hex(' ')!r}, expected 00 00 08 {dimensions:02}"
        )
    return tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, length, 4))


@contextmanager
def _opened(files: Files, path: PurePosixPath) -> Iterator[IO[bytes]]:
    with files.open(path) as file:
        # By content: some archives were unpacked without renaming them, or the reverse.
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked  # type: ignore[misc]


def _damaged(files: Files, path: PurePosixPath, what: str) -> DataError:
    where = f"{files.location}/{path}"
    return DataError(f"no valid IDX file: {what}", where=where, fix="download it again")
