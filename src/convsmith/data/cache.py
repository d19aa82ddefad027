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
from convsmith.data.decode import UnusableImageError, look_at
from convsmith.data.issues import DataIssue
from convsmith.data.memory_mapped import FileImages
from convsmith.data.parquet import damaged_files
from convsmith.data.raw import RawData, RawSplit, Source
from convsmith.data.scan import ScanResult, survey
from convsmith.data.sources import read
from convsmith.errors import DataError, FileError, Problem
from convsmith.system import files, folders, reading

# Raised when the layout below changes, so that an older cache is built anew.
LAYOUT = 2
MAX_TOLD = 5
# A folder of decoded images: their fingerprint, and the size that they were brought to.
_CONTENT = re.compile(r"[0-9a-f]{64}(-[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class CachedSplit:
    """Decoded images `(N, H, W, C)` uint8, mapped from disk, and labels `(N,)` int64."""

    images: np.memmap[Any, np.dtype[np.uint8]]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CachedData:
    """A decoded data set. `fingerprint` is of its content: neither order nor file names matter.

    `dropped` are the images that were left out as they cannot be used, where that is allowed.
    """

    splits: Mapping[str, CachedSplit]
    class_names: tuple[str, ...]
    fingerprint: str
    dropped: tuple[DataIssue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Pointer:
    """From a source to its content. Names and places lie here: equal images may bear others elsewhere."""

    content: Path
    class_names: tuple[str, ...]
    dropped: tuple[DataIssue, ...]


def cache_folder() -> Path:
    """Return `$CONVSMITH_CACHE`, or `convsmith` in the user's cache folder."""
    if folder := os.environ.get("CONVSMITH_CACHE"):
        return Path(folder)
    return platformdirs.user_cache_path("convsmith", appauthor=False)


def _contents() -> Path:
    return cache_folder() / f"content-{LAYOUT}"


def decoded(source: Source, config: DataConfig) -> CachedData:
    """The source's images from the cache, or decoded into it first.

    Raises:
        DataError: Images that cannot be read, of mixed sizes, or labels that are out of range; or the cache
            is not what was written to it.
    """
    options = f"{LAYOUT} {config.resize} {config.image_column} {config.label_column}"
    options += " skip damaged" if config.skip_damaged else ""
    key = hashlib.sha256(f"{source.signature} {options}".encode()).hexdigest()
    path = cache_folder() / "sources" / f"{key}.json"
    pointer = _pointed_to(path)
    if pointer is None:
        raw = read(source, config)
        try:
            pointer = _store(raw, source, config)
        except OSError as error:
            # NumPy's writers do not name the file.
            raise files.write_error(cache_folder(), error) from error
        files.make_folder(path.parent)
        written = {**asdict(pointer), "content": pointer.content.name, "source": source.place}
        files.write_json(path, written)
    return _load(pointer)


def _pointed_to(path: Path) -> _Pointer | None:
    """None where the cache has to be made (again)."""
    with contextlib.suppress(FileError, TypeError):
        match reading.read_json(path):
            # Nothing in the file leads out of the cache.
            case {"content": str(name), "class_names": list(names)} as found if _CONTENT.fullmatch(name):
                content = _contents() / name
                dropped = tuple(DataIssue(**each) for each in found.get("dropped", ()))
                if content.is_dir():
                    return _Pointer(content=content, class_names=tuple(map(str, names)), dropped=dropped)
    return None


def fingerprint(images: Iterable[NDArray[np.uint8]], labels: Sequence[int]) -> str:
    """A sha256 over images and labels that does not depend on their order.

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


def _store(raw: RawData, source: Source, config: DataConfig) -> _Pointer:
    """Decode all images, one at a time, into files in the order of their digests.

    In that order a copy with other file names, or shuffled otherwise, trains alike.
    """
    if raw.unreadable:
        raise damaged_files(source, raw.unreadable)
    seen = survey(raw)
    if seen.damaged and not config.skip_damaged:
        raise _damaged_images(seen.damaged, source)
    _check_classes(raw, seen, source)
    _check_sizes(seen, source, config)
    channels = 1 if seen.grey else 3
    folders.check_destination(cache_folder(), _space(seen, channels, config))
    with folders.scratch_folder(cache_folder(), name="decoding") as scratch:
        decoded_splits = {
            name: _decode(split, seen.usable[name], channels, config, scratch / f"{name}.npy")
            for name, split in raw.splits.items()
        }
        prints = {name: _combined(digests) for name, (_, digests) in decoded_splits.items()}
        told = "".join(f"{name} {prints[name]} " for name in sorted(prints))
        whole = hashlib.sha256(told.encode()).hexdigest()
        content = _contents() / (whole + (f"-{config.resize}" if config.resize else ""))
        with folders.atomic_folder(content) as folder:
            for name, (unsorted, digests) in decoded_splits.items():
                order = sorted(range(len(digests)), key=digests.__getitem__)
                _write_in_order(folder / f"{name}-images.npy", unsorted, order)
                labels = np.array(seen.labels(raw, name), dtype=np.int64)
                np.save(folder / f"{name}-labels.npy", labels[order])
            sums = {path.name: reading.sha256(path) for path in sorted(folder.iterdir())}
            files.write_json(folder / "meta.json", {"fingerprint": whole, "sha256": sums})
    return _Pointer(content=content, class_names=raw.class_names, dropped=seen.damaged)


def _decode(
    split: RawSplit, usable: NDArray[np.bool_], channels: int, config: DataConfig, path: Path
) -> tuple[Path, list[bytes]]:
    """Write a split's pixels in the order that they come in; the digests are of the images as they are."""
    digests, stored = [], None
    for index, found in enumerate(look_at(split.images)):
        if not usable[index]:
            continue
        if isinstance(found, UnusableImageError):
            raise DataError(
                f"the file has changed while it was read: {found.reason}", where=split.places[index]
            )
        image = found.image
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
    source = FileImages(np.load(unsorted, mmap_mode="r"), np.array(order))
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=source.shape)
    for index, image in enumerate(source):
        target[index] = image
    target.flush()


def _load(pointer: _Pointer) -> CachedData:
    content = pointer.content
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
            f"the cache is damaged: {error}", where=str(content), fix="remove this folder; it is made again"
        ) from error
    return CachedData(
        splits=splits,
        class_names=pointer.class_names,
        fingerprint=meta["fingerprint"],
        dropped=pointer.dropped,
    )


def _check(content: Path, found: str, sums: Mapping[str, str]) -> None:
    """Raises ValueError where a file is not what `_store` wrote: nobody trains on a wrong pixel.

    That reads every byte, which a training does anyway, at a gigabyte a second or more.
    """
    if found != content.name.partition("-")[0]:
        raise ValueError("meta.json has another fingerprint")
    train, test = ({f"{split}-images.npy", f"{split}-labels.npy"} for split in ("train", "test"))
    if set(sums) not in (train, train | test):
        raise ValueError(f"meta.json lists {', '.join(sums)}")
    for name, expected in sums.items():
        if reading.sha256(content / name) != expected:
            raise ValueError(f"{name} is not what was written: its SHA-256 differs")


def _space(seen: ScanResult, channels: int, config: DataConfig) -> int:
    """How many bytes the images take while they are put in order: twice what they take then."""
    size = {(config.resize, config.resize)} if config.resize else set(seen.sizes)
    ((width, height),) = size
    return 2 * channels * width * height * seen.sizes.total()


def _damaged_images(damaged: Sequence[DataIssue], source: Source) -> DataError:
    """One error that names what cannot be used; the rest is counted."""
    rest = len(damaged) - MAX_TOLD
    fix = (f"{rest:,} more; " if rest > 0 else "") + (
        "mend or remove them (`convsmith data verify` lists all), or leave them out: data.skip_damaged=true; "
        "nothing was changed"
    )
    told = [_damaged(finding, source) for finding in damaged[:MAX_TOLD]]
    return DataError.of([*told[:-1], replace(told[-1], fix=fix)])


def _damaged(finding: DataIssue, source: Source) -> Problem:
    return Problem(what=f"{finding.kind}: {finding.reason}", where=f"{source.place}/{finding.file}")


def _check_classes(raw: RawData, seen: ScanResult, source: Source) -> None:
    for name, split in raw.splits.items():
        if not seen.usable[name].any():
            what = "no image of it can be used" if len(split.labels) else "it is empty"
            raise DataError(f"the {name} split: {what}", where=source.place)
    counts = Counter(seen.labels(raw, "train"))
    empty = [name for index, name in enumerate(raw.class_names) if not counts[index]]
    if empty:
        place = raw.splits["train"].class_place(empty[0])
        raise DataError(
            f"no training images of {', '.join(map(repr, empty[:MAX_TOLD]))}",
            where=f"{source.place}/{place}" if place else source.place,
            fix="add images of every class, or remove the class",
        )
    if len(raw.class_names) < 2:
        raise DataError("found one class, expected at least two", where=source.place)


def _check_sizes(seen: ScanResult, source: Source, config: DataConfig) -> None:
    if len(seen.sizes) > 1 and config.resize is None:
        common = seen.sizes.most_common(MAX_TOLD)
        told = [f"{w}x{h}: {n:,} images, the first is {seen.examples[w, h]}" for (w, h), n in common]
        raise DataError(
            f"images of {len(seen.sizes):,} sizes",
            where=source.place,
            context="\n".join([*told, *(["..."] if len(seen.sizes) > MAX_TOLD else [])]),
            fix="bring them to one size: data.resize=32",
        )


def _pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    pixels = np.asarray(image if channels == 1 else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _resized(image: Image.Image, channels: int, size: int) -> NDArray[np.uint8]:
    return _pixels(image.resize((size, size), Image.Resampling.LANCZOS), channels)
