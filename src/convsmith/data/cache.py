"""The uint8 cache: images decoded once, in an order and under a fingerprint that follow from the content."""

import contextlib
import hashlib
import io
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from convsmith import files
from convsmith.data.config import DataConfig
from convsmith.data.rows import FileImages
from convsmith.data.sources import Encoded, RawData, RawSplit, Source, read
from convsmith.errors import DataError, FileError, Problem

# Only formats that Pillow decodes without outside programs; a PSD or FITS named .png is refused.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 50_000_000
GREY_MODES = frozenset({"1", "L", "LA"})
WIDE_MODES = ("I", "F")
# Raised when the layout below changes, so that an older cache is built anew.
LAYOUT = 1
MAX_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class CachedSplit:
    """Decoded images `(N, H, W, C)` uint8, mapped from disk, and labels `(N,)` int64."""

    images: np.memmap[Any, np.dtype[np.uint8]]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CachedData:
    """A decoded data set. `fingerprint` is of its content: neither order nor file names matter."""

    splits: Mapping[str, CachedSplit]
    class_names: tuple[str, ...]
    fingerprint: str


def cache_folder() -> Path:
    """`$CONVSMITH_CACHE`, else `convsmith` in the user's cache folder."""
    if folder := os.environ.get("CONVSMITH_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convsmith"


def decoded(source: Source, config: DataConfig) -> CachedData:
    """The source's images from the cache, or decoded into it first.

    Raises:
        DataError: Images that cannot be read, of mixed sizes, or labels that are out of range.
    """
    options = f"{LAYOUT} {config.resize} {config.image_column} {config.label_column}"
    key = hashlib.sha256(f"{source.signature} {options}".encode()).hexdigest()
    pointer = cache_folder() / "sources" / f"{key}.json"
    if known := _pointed_to(pointer):
        return _load(*known)
    with read(source, config) as raw:
        content = _store(raw, source, config)
    files.make_folder(pointer.parent)
    # The names lie here, since equal images may bear other names elsewhere.
    files.write_json(
        pointer, {"content": content.name, "class_names": raw.class_names, "source": source.place}
    )
    return _load(content, raw.class_names)


def _pointed_to(pointer: Path) -> tuple[Path, tuple[str, ...]] | None:
    """Content folder and class names; None where the cache has to be made (again)."""
    with contextlib.suppress(FileError, KeyError, TypeError):
        found = files.read_json(pointer)
        # The last part alone: nothing in the file leads out of the cache.
        content = cache_folder() / "content" / Path(str(found["content"])).name
        if content.is_dir():
            return content, tuple(map(str, found["class_names"]))
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


def _store(raw: RawData, source: Source, config: DataConfig) -> Path:
    """Decode all images, one at a time, into files in the order of their digests.

    In that order a copy with other file names, or shuffled otherwise, trains alike.
    """
    _check_labels(raw, source)
    channels = _check_images(raw, source, config)
    with tempfile.TemporaryDirectory(prefix="decoding-", dir=files.make_folder(cache_folder())) as scratch:
        decoded_splits = {
            name: _decode(split, channels, config, Path(scratch) / f"{name}.npy")
            for name, split in raw.splits.items()
        }
        prints = {name: _combined(digests) for name, (_, digests) in decoded_splits.items()}
        told = "".join(f"{name} {prints[name]} " for name in sorted(prints))
        whole = hashlib.sha256(told.encode()).hexdigest()
        content = cache_folder() / "content" / (whole + (f"-{config.resize}" if config.resize else ""))
        with files.whole_folder(content) as folder:
            for name, (unsorted, digests) in decoded_splits.items():
                order = sorted(range(len(digests)), key=digests.__getitem__)
                _write_in_order(folder / f"{name}-images.npy", unsorted, order)
                labels = np.array(raw.splits[name].labels, dtype=np.int64)
                np.save(folder / f"{name}-labels.npy", labels[order])
            files.write_json(folder / "meta.json", {"fingerprint": whole, "splits": list(prints)})
    return content


def _decode(split: RawSplit, channels: int, config: DataConfig, path: Path) -> tuple[Path, list[bytes]]:
    """Write a split's pixels in the order that they come in; the digests are of the images as they are."""
    digests, stored = [], None
    for index, (encoded, label) in enumerate(zip(split.images, split.labels, strict=True)):
        image = open_image(encoded)
        pixels = _pixels(image, channels)
        digests.append(_digest(pixels, label))
        if config.resize:
            pixels = _resized(image, channels, config.resize)
        if stored is None:
            shape = (len(split.labels), *pixels.shape)
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        stored[index] = pixels
    return path, digests


def _write_in_order(path: Path, unsorted: Path, order: Sequence[int]) -> None:
    source = FileImages(np.load(unsorted, mmap_mode="r"), np.array(order))
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=source.shape)
    for index, image in enumerate(source):
        target[index] = image
    target.flush()


def _load(content: Path, class_names: tuple[str, ...]) -> CachedData:
    try:
        meta = files.read_json(content / "meta.json")
        splits = {
            name: CachedSplit(
                images=np.load(content / f"{name}-images.npy", mmap_mode="r"),
                labels=np.load(content / f"{name}-labels.npy"),
            )
            for name in meta["splits"]
        }
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the cache is damaged: {error}", where=str(content), fix="remove this folder; it is made again"
        ) from error
    return CachedData(splits=splits, class_names=class_names, fingerprint=str(meta["fingerprint"]))


def _check_labels(raw: RawData, source: Source) -> None:
    num_classes = len(raw.class_names)
    for name, split in raw.splits.items():
        if not split.labels:
            raise DataError(f"the {name} split is empty", where=source.place)
        if max(split.labels) >= num_classes:
            index = next(i for i, label in enumerate(split.labels) if label >= num_classes)
            raise DataError(
                f"label {index} of {name} is {split.labels[index]}, expected 0 to {num_classes - 1}",
                where=source.place,
            )
    counts = Counter(raw.splits["train"].labels)
    empty = [name for index, name in enumerate(raw.class_names) if not counts[index]]
    if empty:
        raise DataError(
            f"no training images of {', '.join(map(repr, empty[:MAX_TOLD]))}",
            where=source.place,
            fix="add images of every class, or remove the class",
        )
    if num_classes < 2:
        raise DataError("found one class, expected at least two", where=source.place)


def _check_images(raw: RawData, source: Source, config: DataConfig) -> int:
    """Make sure that all images can be read and fit together; one error names all that cannot.

    Returns:
        How many channels they need: one if all are grey, else three.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    grey, problems = True, []
    for name, split in raw.splits.items():
        for index, encoded in enumerate(split.images):
            try:
                image = open_image(encoded)
            # Damaged files make decoders raise nearly anything: struct.error, zlib.error, IndexError, ...
            except Exception as error:  # noqa: BLE001
                place = encoded if isinstance(encoded, str) else f"{source.place}, {name} image {index}"
                problems.append(Problem(what=f"unreadable image: {reason_of(error)}", where=place))
            else:
                sizes[image.size] += 1
                grey = grey and image.mode == "L"
    if problems:
        told, rest = problems[:MAX_TOLD], len(problems) - MAX_TOLD
        fix = (f"{rest:,} more; " if rest > 0 else "") + "mend or remove the files; nothing was changed"
        raise DataError.of([*told[:-1], replace(told[-1], fix=fix)])
    _check_sizes(sizes, source, config)
    return 1 if grey else 3


def reason_of(error: Exception) -> str:
    """Why an image cannot be read, by what `open_image` raised."""
    match error:
        case UnidentifiedImageError():
            return f"not an image in one of the formats {', '.join(FORMATS)}"
        case Image.DecompressionBombError():
            return f"more than {MAX_PIXELS:,} pixels"
        case _:
            return str(error)


def plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB of any mode of 8 bits a channel."""
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def open_image(encoded: Encoded, convert: Callable[[Image.Image], Image.Image] = plain) -> Image.Image:
    """Decode one image; damaged ones make decoders raise nearly anything.

    Args:
        encoded: A file's bytes, its path, or its pixels.
        convert: What is made of the image while its file is open.
    """
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(
            io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS
        ) as image:
            # From the header, before any pixel is decoded.
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if image.mode.startswith(WIDE_MODES):
                raise ValueError(f"mode {image.mode} holds more than 8 bits a channel")
            return convert(image)


def _check_sizes(counts: Counter[tuple[int, int]], source: Source, config: DataConfig) -> None:
    if len(counts) > 1 and config.resize is None:
        told = ", ".join(f"{w}x{h} ({n:,})" for (w, h), n in counts.most_common(3))
        raise DataError(
            f"images of {len(counts):,} sizes: {told}{', ...' if len(counts) > 3 else ''}",
            where=source.place,
            fix="bring them to one size: data.resize=32",
        )


def _pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    pixels = np.asarray(image if channels == 1 else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _resized(image: Image.Image, channels: int, size: int) -> NDArray[np.uint8]:
    return _pixels(image.resize((size, size), Image.Resampling.LANCZOS), channels)
