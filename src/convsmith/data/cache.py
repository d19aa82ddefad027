"""The uint8 cache: images decoded once, in an order and under a fingerprint that follow from the content."""

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.config import DataConfig
from convsmith.data.decode import UnusableImageError, decode_each
from convsmith.data.issues import DataIssue
from convsmith.data.memory_mapped import DiskImages
from convsmith.data.parquet import unreadable_files
from convsmith.data.raw import RawData, RawSplit, Source
from convsmith.data.scan import ScanResult, scan
from convsmith.data.sources import read_source
from convsmith.errors import DataError, FileError, Problem
from convsmith.system import files, folders, reading

# Incremented when the layout below changes, so that an older cache is not used.
CACHE_VERSION = 2
MAX_LISTED = 5
# The name of a folder of decoded images: their fingerprint, and the size they were resized to.
_CONTENT_NAME = re.compile(r"[0-9a-f]{64}(-[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class CachedSplit:
    """Decoded images `(N, H, W, C)` uint8, mapped from disk, and labels `(N,)` int64."""

    images: np.memmap[Any, np.dtype[np.uint8]]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CachedData:
    """A decoded data set.

    Attributes:
        fingerprint: A hash of its content, independent of order and file names.
        dropped: Unusable images that were left out, if the recipe allows it.
    """

    splits: Mapping[str, CachedSplit]
    class_names: tuple[str, ...]
    fingerprint: str
    dropped: tuple[DataIssue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _SourceEntry:
    """The content of a source, with its own class names: equal images may have other names elsewhere."""

    content: Path
    class_names: tuple[str, ...]
    dropped: tuple[DataIssue, ...]


def cache_folder() -> Path:
    """Return `$CONVSMITH_CACHE`, or `convsmith` in the user's cache folder."""
    if folder := os.environ.get("CONVSMITH_CACHE"):
        return Path(folder)
    return platformdirs.user_cache_path("convsmith", appauthor=False)


def _content_folder() -> Path:
    return cache_folder() / f"content-{CACHE_VERSION}"


def load_cached(source: Source, config: DataConfig) -> CachedData:
    """Return a source's decoded images from the cache; decode them into it if they are missing.

    Raises:
        DataError: Images are unreadable or of mixed sizes, labels are out of range, or the cache is damaged.
    """
    options = f"{CACHE_VERSION} {config.resize} {config.image_column} {config.label_column}"
    options += " skip damaged" if config.skip_damaged else ""
    key = hashlib.sha256(f"{source.signature} {options}".encode()).hexdigest()
    path = cache_folder() / "sources" / f"{key}.json"
    entry = _read_entry(path)
    if entry is None:
        raw = read_source(source, config)
        try:
            entry = _store(raw, source, config)
        except OSError as error:
            # Exceptions of NumPy's writers do not name the file.
            raise files.write_error(cache_folder(), error) from error
        files.make_folder(path.parent)
        record = {**asdict(entry), "content": entry.content.name, "source": source.location}
        files.write_json(path, record)
    return _load(entry)


def _read_entry(path: Path) -> _SourceEntry | None:
    """Return the entry of a source; None if it is missing or unusable."""
    with contextlib.suppress(FileError, TypeError):
        match reading.read_json(path):
            # The name of the content cannot leave the cache.
            case {"content": str(name), "class_names": list(names)} as record if _CONTENT_NAME.fullmatch(
                name
            ):
                content = _content_folder() / name
                dropped = tuple(DataIssue(**each) for each in record.get("dropped", ()))
                if content.is_dir():
                    return _SourceEntry(content=content, class_names=tuple(map(str, names)), dropped=dropped)
    return None


def fingerprint(images: Iterable[NDArray[np.uint8]], labels: Sequence[int]) -> str:
    """Return a SHA-256 of images and labels that does not depend on their order.

    Example:
        >>> a, b = np.zeros((2, 2, 1), np.uint8), np.ones((2, 2, 1), np.uint8)
        >>> fingerprint([a, b], [0, 1]) == fingerprint([b, a], [1, 0])
        True
        >>> fingerprint([a, b], [0, 1]) == fingerprint([a, b], [1, 0])
        False
    """
    return _combined(_digest(image, label) for image, label in zip(images, labels, strict=True))


def _digest(image: NDArray[np.uint8], label: int) -> bytes:
    head = f"{label} {image.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).digest()


def _combined(digests: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _store(raw: RawData, source: Source, config: DataConfig) -> _SourceEntry:
    """Decode all images, one at a time, into files sorted by their digests.

    A copy with other file names, or in another order, therefore trains identically.
    """
    if raw.unreadable:
        raise unreadable_files(source, raw.unreadable)
    result = scan(raw)
    if result.damaged and not config.skip_damaged:
        raise _damaged_images_error(result.damaged, source)
    _check_classes(raw, result, source)
    _check_sizes(result, source, config)
    channels = 1 if result.grey else 3
    folders.check_destination(cache_folder(), _bytes_needed(result, channels, config))
    with folders.scratch_folder(cache_folder(), name="decoding") as scratch:
        decoded_splits = {
            name: _decode(split, result.usable[name], channels, config, scratch / f"{name}.npy")
            for name, split in raw.splits.items()
        }
        prints = {name: _combined(digests) for name, (_, digests) in decoded_splits.items()}
        text = "".join(f"{name} {prints[name]} " for name in sorted(prints))
        total = hashlib.sha256(text.encode()).hexdigest()
        content = _content_folder() / (total + (f"-{config.resize}" if config.resize else ""))
        with folders.atomic_folder(content) as folder:
            for name, (unsorted, digests) in decoded_splits.items():
                order = sorted(range(len(digests)), key=digests.__getitem__)
                _write_in_order(folder / f"{name}-images.npy", unsorted, order)
                labels = np.array(result.labels(raw, name), dtype=np.int64)
                np.save(folder / f"{name}-labels.npy", labels[order])
            sums = {path.name: reading.sha256(path) for path in sorted(folder.iterdir())}
            files.write_json(folder / "meta.json", {"fingerprint": total, "sha256": sums})
    return _SourceEntry(content=content, class_names=raw.class_names, dropped=result.damaged)


def _decode(
    split: RawSplit, usable: NDArray[np.bool_], channels: int, config: DataConfig, path: Path
) -> tuple[Path, list[bytes]]:
    """Write a split's pixels in their order; return the digests of the images before resizing."""
    digests, stored = [], None
    for index, decoded in enumerate(decode_each(split.images)):
        if not usable[index]:
            continue
        if isinstance(decoded, UnusableImageError):
            raise DataError(
                f"the file changed while it was read: {decoded.reason}", where=split.locations[index]
            )
        image = decoded.image
        pixels = _pixels(image, channels)
        digests.append(_digest(pixels, split.labels[index]))
        if config.resize:
            pixels = _resized(image, channels, config.resize)
        if stored is None:
            shape = (int(usable.sum()), *pixels.shape)
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        stored[len(digests) - 1] = pixels
    return path, digests


def _write_in_order(path: Path, unsorted: Path, order: Sequence[int]) -> None:
    source = DiskImages(np.load(unsorted, mmap_mode="r"), np.array(order))
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=source.shape)
    for index, image in enumerate(source):
        target[index] = image
    target.flush()


def _load(entry: _SourceEntry) -> CachedData:
    content = entry.content
    try:
        meta = reading.read_json(content / "meta.json")
        _check(content, meta["fingerprint"], meta["sha256"])
        splits = {
            name: CachedSplit(
                images=np.load(content / f"{name}-images.npy", mmap_mode="r"),
                labels=np.load(content / f"{name}-labels.npy"),
            )
            for name in ("train", "test")
            if f"{name}-labels.npy" in meta["sha256"]
        }
    except (FileError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the cache is damaged: {error}",
            where=str(content),
            fix="remove this folder; it is created again",
        ) from error
    return CachedData(
        splits=splits,
        class_names=entry.class_names,
        fingerprint=meta["fingerprint"],
        dropped=entry.dropped,
    )


def _check(content: Path, stored: str, sums: Mapping[str, str]) -> None:
    """Raise ValueError if a file is not what `_store` wrote.

    This reads every byte, as training does anyway, at a gigabyte per second or more.
    """
    if stored != content.name.partition("-")[0]:
        raise ValueError("meta.json has a different fingerprint")
    train, test = ({f"{split}-images.npy", f"{split}-labels.npy"} for split in ("train", "test"))
    if set(sums) not in (train, train | test):
        raise ValueError(f"meta.json lists {', '.join(sums)}")
    for name, expected in sums.items():
        if reading.sha256(content / name) != expected:
            raise ValueError(f"the SHA-256 of {name} differs")


def _bytes_needed(result: ScanResult, channels: int, config: DataConfig) -> int:
    """Return the disk space that sorting the images needs: twice their size."""
    size = {(config.resize, config.resize)} if config.resize else set(result.sizes)
    ((width, height),) = size
    return 2 * channels * width * height * result.sizes.total()


def _damaged_images_error(damaged: Sequence[DataIssue], source: Source) -> DataError:
    """Return an error that lists the first damaged images and counts the others."""
    rest = len(damaged) - MAX_LISTED
    fix = (f"{rest:,} more; " if rest > 0 else "") + (
        "repair or remove them (`convsmith data verify` lists all), or leave them out: "
        "data.skip_damaged=true; no file was changed"
    )
    problems = [_problem(issue, source) for issue in damaged[:MAX_LISTED]]
    return DataError.of([*problems[:-1], replace(problems[-1], fix=fix)])


def _problem(issue: DataIssue, source: Source) -> Problem:
    return Problem(what=f"{issue.kind}: {issue.reason}", where=f"{source.location}/{issue.file}")


def _check_classes(raw: RawData, result: ScanResult, source: Source) -> None:
    for name, split in raw.splits.items():
        if not result.usable[name].any():
            what = "has no usable images" if len(split.labels) else "is empty"
            raise DataError(f"the {name} split {what}", where=source.location)
    counts = Counter(result.labels(raw, "train"))
    empty = [name for index, name in enumerate(raw.class_names) if not counts[index]]
    if empty:
        folder = raw.splits["train"].class_folder(empty[0])
        raise DataError(
            f"no training images of {', '.join(map(repr, empty[:MAX_LISTED]))}",
            where=f"{source.location}/{folder}" if folder else source.location,
            fix="add images of every class, or remove the class",
        )
    if len(raw.class_names) < 2:
        raise DataError("found one class, expected at least two", where=source.location)


def _check_sizes(result: ScanResult, source: Source, config: DataConfig) -> None:
    if len(result.sizes) > 1 and config.resize is None:
        common = result.sizes.most_common(MAX_LISTED)
        lines = [f"{w}x{h}: {n:,} images, the first is {result.examples[w, h]}" for (w, h), n in common]
        raise DataError(
            f"found images of {len(result.sizes):,} sizes, expected one",
            where=source.location,
            context="\n".join([*lines, *(["..."] if len(result.sizes) > MAX_LISTED else [])]),
            fix="resize them: data.resize=32",
        )


def _pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    pixels = np.asarray(image if channels == 1 else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _resized(image: Image.Image, channels: int, size: int) -> NDArray[np.uint8]:
    return _pixels(image.resize((size, size), Image.Resampling.LANCZOS), channels)
