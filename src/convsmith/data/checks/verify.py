"""Check a data set for issues without changing it."""

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.cluster.engine import Engine
from convsmith.data.arrays.registry import check_available
from convsmith.data.cache.facts import ImageFacts
from convsmith.data.cache.index import forget
from convsmith.data.cache.parts import in_processes
from convsmith.data.cache.scan import ScanResult, Visitor, both, scan
from convsmith.data.checks.thumbnails import Thumbnails
from convsmith.data.config import DataConfig
from convsmith.data.groups import groups_of, shown
from convsmith.data.images.background import CANDIDATES, named_colour
from convsmith.data.images.decode import DecodedImage
from convsmith.data.images.input_rule import Colour, flatten
from convsmith.data.issues import STOPS_TRAINING, DataIssue, Kind, Verification
from convsmith.data.raw import RawData, Source
from convsmith.data.sources import find_source, read_source
from convsmith.text import plural

# The formats that belong to a suffix.
_FORMATS = {
    ".png": ("PNG",),
    ".apng": ("PNG",),
    ".avif": ("AVIF",),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ("JPEG", "MPO")),
    ".bmp": ("BMP", "DIB"),
    ".webp": ("WEBP",),
    ".gif": ("GIF",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
}
_SUFFIXES = tuple(_FORMATS)
# A class has few training images below this number, or below this share of the median class.
FEW, FEW_SHARE = 5, 0.1
_DIGEST_BYTES = 16


def verify(
    config: DataConfig,
    *,
    refresh: bool = False,
    near_duplicates: bool = False,
    engine: Engine | None = None,
    workers: int | None = None,
) -> Verification:
    """Decode every image of a data set as training would, and report every issue.

    Files are named by their path relative to the source, rows of parquet files by their index. Images with
    equal pixels are duplicates, whatever their files.

    Args:
        config: The `[data]` table of a recipe. With `resize`, mixed sizes are no issue.
        refresh: Also remove the data set from the cache, so that it is decoded again when it is used.
        near_duplicates: Also find flipped, rotated, shifted, brighter, duller and recompressed copies.
            This needs 4 KB of memory per image.
        engine: Decode on its workers; by default in this process. The result is the same.
        workers: How many of them.

    Raises:
        DataError: The data set does not exist or is unreadable, a split has no labels, or `data.group`
            gives no group for some images.
        UsageError: As `parts.in_processes`; so are BusyError and ProcessError.

    Example:
        >>> verification = verify(DataConfig(source="digits"))
        >>> verification.images, verification.clean
        ({'train': 1797}, True)
    """
    return survey(
        config, refresh=refresh, near_duplicates=near_duplicates, engine=engine, workers=workers
    ).verification


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What one pass over a data set finds.

    Attributes:
        raw: The data set before decoding.
        result: Which images are usable, and their sizes.
        contradictions: The number of images with the pixels of an earlier image and another class.
    """

    raw: RawData
    result: ScanResult
    verification: Verification
    contradictions: int


def survey(
    config: DataConfig,
    *,
    refresh: bool = False,
    near_duplicates: bool = False,
    visitor: Callable[[RawData], Visitor[Any]] | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
) -> Survey:
    """Decode every image of a data set once, as `verify`.

    Args:
        config: As `verify`.
        refresh: As `verify`.
        near_duplicates: As `verify`.
        visitor: Returns what is called for every usable image as well; in this process only.
        engine: As `verify`.
        workers: As `verify`.

    Raises:
        DataError: As `verify`.
    """
    source = find_source(config)
    if refresh:
        check_available(source)
        forget(source.location)
    raw = read_source(source, config, refresh=refresh)
    colours = {named_colour(config.background, 3)} if config.background else set(CANDIDATES.values())
    table = _ImageTable(raw, sorted(colours), Thumbnails() if near_duplicates else None)
    details = "near-duplicates" if near_duplicates else ""
    with (
        in_processes(source, config, engine, workers, purpose="verify", details=details)
        if engine
        else nullcontext()
    ) as sharing:
        result = scan(raw, both(table, visitor(raw)) if visitor else table, sharing=sharing)
    chosen = result.background.colour(3)
    # The mean colour, without transparent training images, is known too late; opaque images look the same.
    background = chosen if chosen in colours else min(colours)
    issues = [
        *(DataIssue(kind="unreadable", file=file, reason=reason) for file, reason in raw.unreadable.items()),
        *result.damaged,
        *(table.outliers("mixed sizes", table.sizes) if config.resize is None else ()),
        *_small_classes(raw, result),
        *table.duplicates(background),
        *(_shared_groups(raw, result, source, config.group) if config.group else ()),
        *table.near_duplicates(background),
        *table.wrong_types,
        *table.outliers("mixed modes", table.modes),
    ]
    return Survey(
        raw=raw,
        result=result,
        verification=_verification(source, raw, result, issues),
        contradictions=table.contradictions(background),
    )


def _verification(
    source: Source, raw: RawData, result: ScanResult, issues: Sequence[DataIssue]
) -> Verification:
    order = list(STOPS_TRAINING)
    counts = {name: result.class_counts(raw, name) for name in raw.splits}
    return Verification(
        title=source.title,
        location=source.location,
        images={name: len(split.labels) for name, split in raw.splits.items()},
        classes={
            name: {split: each[label] for split, each in counts.items()}
            for label, name in enumerate(raw.class_names)
        },
        issues=tuple(sorted(issues, key=lambda issue: order.index(issue.kind))),
        ignored=raw.ignored,
        notes=_notes(raw, result),
        layout=raw.description,
    )


def _notes(raw: RawData, result: ScanResult) -> tuple[str, ...]:
    pages = plural(result.more_pages, "page") + " or frames after the first of a file are not read"
    return (*raw.notes, *result.notes, *([pages] if result.more_pages else []))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Examined:
    """What is kept of an image: a digest for each background, and its thumbnail."""

    digests: tuple[bytes, ...]
    file_format: str | None
    thumbnail: Image.Image | None


class _Column:
    """A text for each image, as the number of one of a few distinct texts."""

    def __init__(self, typecode: str) -> None:
        self.numbers = array(typecode)
        self.texts: dict[Any, tuple[int, str]] = {}

    def add(self, key: Any, text: Callable[[], str]) -> None:
        if key not in self.texts:
            self.texts[key] = len(self.texts), text()
        self.numbers.append(self.texts[key][0])


class _ImageTable(Visitor[_Examined]):
    """Size, mode and digests of each usable image: 25 bytes each, and 32 more if some are transparent.

    Which background applies is known at the end, so that there is a digest for each that may.
    """

    def __init__(self, raw: RawData, backgrounds: Sequence[Colour], thumbnails: Thumbnails | None) -> None:
        self.raw, self.thumbnails, self.backgrounds = raw, thumbnails, tuple(backgrounds)
        # Of each split that has images, the number of the first one; and the index in its split of each.
        self.starts: list[tuple[str, int]] = []
        self.indices = array("I")
        self.sizes, self.modes = _Column("I"), _Column("B")
        # Digests over the first background, and of each other one once an image is transparent.
        self.digests = [bytearray()]
        self.wrong_types: list[DataIssue] = []

    def examine(self, split: str, index: int, decoded: DecodedImage) -> _Examined:
        del split, index
        thumbnail = None
        if self.thumbnails is not None:
            # Black ink and white ink are visible on grey.
            image = flatten(decoded, named_colour("grey", 3))
            thumbnail = self.thumbnails.reduced(Image.fromarray(np.asarray(image)))
        digests: list[bytes] = []
        for colour in self.backgrounds if decoded.alpha is not None else self.backgrounds[:1]:
            content = f"{decoded.image.size} ".encode() + flatten(decoded, colour).tobytes()
            digests.append(hashlib.sha256(content).digest()[:_DIGEST_BYTES])
        return _Examined(digests=tuple(digests), file_format=decoded.format, thumbnail=thumbnail)

    def collect(self, split: str, index: int, facts: ImageFacts, examined: _Examined) -> None:
        if not self.starts or self.starts[-1][0] != split:
            self.starts.append((split, len(self.indices)))
        self.indices.append(index)
        width, height = facts.size
        self.sizes.add(facts.size, lambda: f"{height}x{width} pixels")
        self.modes.add(facts.mode, lambda: f"mode {facts.mode}")
        if self.thumbnails is not None and examined.thumbnail is not None:
            self.thumbnails.add(examined.thumbnail)
        self._add_digests(examined.digests)
        file = self.raw.splits[split].locations[index]
        if not examined.file_format or not file.lower().endswith(_SUFFIXES):
            return
        expected = _FORMATS.get(PurePath(file).suffix.lower())
        if expected and examined.file_format not in expected:
            reason = f"{examined.file_format} by its content"
            self.wrong_types.append(DataIssue(kind="wrong type", file=file, reason=reason))

    def _add_digests(self, digests: Sequence[bytes]) -> None:
        if len(digests) > len(self.digests):
            # The images so far are opaque.
            first = self.digests[0]
            self.digests += [bytearray(first) for _ in range(len(digests) - len(self.digests))]
        for number, content in enumerate(self.digests):
            # An opaque image looks the same over each background.
            content.extend(digests[number if number < len(digests) else 0])

    def remote(self) -> "_RemoteTable":
        return _RemoteTable(backgrounds=self.backgrounds, thumbnails=self.thumbnails is not None)

    def pack(self, examined: Sequence[_Examined]) -> dict[str, NDArray[Any]]:
        thumbnails = [each.thumbnail for each in examined if each.thumbnail is not None]
        return {
            "digests": np.frombuffer(b"".join(chain(*(each.digests for each in examined))), np.uint8),
            "count": np.array([len(each.digests) for each in examined], np.uint8),
            "format": np.array([(each.file_format or "").encode() for each in examined], "S16"),
            "thumbnail size": np.array([each.size for each in thumbnails], np.uint8).reshape(-1, 2),
            "thumbnail mode": np.array([each.mode.encode() for each in thumbnails], "S8"),
            "thumbnails": np.frombuffer(b"".join(each.tobytes() for each in thumbnails), np.uint8),
        }

    def unpack(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[_Examined]:
        content, at = arrays["digests"].tobytes(), 0
        thumbnails = _unpacked_images(arrays)
        for count, file_format in zip(arrays["count"].tolist(), arrays["format"].tolist(), strict=True):
            stop = at + count * _DIGEST_BYTES
            yield _Examined(
                digests=tuple(
                    content[each : each + _DIGEST_BYTES] for each in range(at, stop, _DIGEST_BYTES)
                ),
                file_format=file_format.decode() or None,
                thumbnail=next(thumbnails, None),
            )
            at = stop

    def position(self, number: int) -> tuple[str, int]:
        """Return the split of an image, and its index in the split."""
        split = self.starts[bisect_right(self.starts, number, key=lambda each: each[1]) - 1][0]
        return split, self.indices[number]

    def location(self, number: int) -> str:
        split, index = self.position(number)
        return self.raw.splits[split].locations[index]

    def label(self, number: int) -> int:
        split, index = self.position(number)
        label: int = self.raw.splits[split].labels[index]
        return label

    def outliers(self, kind: Kind, column: _Column) -> Iterator[DataIssue]:
        """Yield an issue for each image that differs from the most common value."""
        if len(column.texts) < 2:
            return
        numbers = np.frombuffer(column.numbers, column.numbers.typecode)
        counts = np.bincount(numbers)
        # The first of equal counts.
        usual = int(counts.argmax())
        texts = [text for _, text in column.texts.values()]
        for number in np.flatnonzero(numbers != usual).tolist():
            reason = f"{texts[numbers[number]]}; {counts[usual]:,} images have {texts[usual]}"
            yield DataIssue(kind=kind, file=self.location(number), reason=reason)

    def duplicates(self, background: Colour) -> Iterator[DataIssue]:
        """Yield an issue for each image with the pixels of an earlier one."""
        for number, original in zip(*self._copies(background), strict=True):
            yield self._copy("duplicate", int(number), int(original), "the same pixels as")

    def contradictions(self, background: Colour) -> int:
        """Return the number of images with the pixels of an earlier image and another class."""
        pairs = zip(*self._copies(background), strict=True)
        return sum(self.label(int(number)) != self.label(int(original)) for number, original in pairs)

    def near_duplicates(self, background: Colour) -> Iterator[DataIssue]:
        """Yield an issue for each image that is nearly an earlier one, preferably one of another split.

        Of duplicates over the background, only the first one is compared.
        """
        if self.thumbnails is None:
            return
        # PyTorch takes seconds to import, in each worker too.
        from convsmith.data.checks.near_duplicates import NearPair, near_pairs

        numbers = np.delete(np.arange(len(self.indices)), self._copies(background)[0])
        if len(numbers) < 2:
            return
        splits = np.searchsorted([start for _, start in self.starts], numbers, side="right")
        closest: dict[int, NearPair] = {}
        for pair in near_pairs(self.thumbnails.pixels()[numbers]):
            best = closest.setdefault(pair.image, pair)
            if splits[pair.image] == splits[best.other] != splits[pair.other]:
                closest[pair.image] = pair
        for pair in closest.values():
            how = f"after alignment, {pair.difference:.1f} of 255 levels from"
            yield self._copy("near-duplicate", int(numbers[pair.image]), int(numbers[pair.other]), how)

    def _copies(self, background: Colour) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images with the pixels of an earlier one, and the first with these pixels of each."""
        number = self.backgrounds.index(background) if len(self.digests) > 1 else 0
        digests = np.frombuffer(self.digests[number], np.uint64).reshape(-1, _DIGEST_BYTES // 8)
        # Few images share the half of a digest but for copies; only these are compared in full.
        order = np.argsort(digests[:, 0], kind="stable")
        same = digests[order[1:], 0] == digests[order[:-1], 0]
        shared = np.zeros(len(order), np.bool_)
        shared[1:] |= same
        shared[:-1] |= same
        candidates = np.sort(order[shared])
        texts = np.ascontiguousarray(digests[candidates]).view(f"V{_DIGEST_BYTES}").reshape(-1)
        _, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
        originals = candidates[first[inverse]]
        is_copy = originals != candidates
        return candidates[is_copy], originals[is_copy]

    def _copy(
        self, kind: Literal["duplicate", "near-duplicate"], number: int, original: int, how: str
    ) -> DataIssue:
        (split, index), (other_split, other) = self.position(number), self.position(original)
        here, there = self.raw.splits[split], self.raw.splits[other_split]
        reason = f"{how} {there.locations[other]}"
        names = [self.raw.class_names[label] for label in (here.labels[index], there.labels[other])]
        if names[0] != names[1]:
            reason += f", labelled {names[0]!r} here and {names[1]!r} there"
        across: dict[str, Kind] = {
            "duplicate": "across splits",
            "near-duplicate": "near-duplicate across splits",
        }
        return DataIssue(
            kind=kind if split == other_split else across[kind], file=here.locations[index], reason=reason
        )


def _unpacked_images(arrays: Mapping[str, NDArray[Any]]) -> Iterator[Image.Image]:
    content, at = arrays["thumbnails"].tobytes(), 0
    sizes, modes = arrays["thumbnail size"].tolist(), arrays["thumbnail mode"].tolist()
    for (width, height), mode in zip(sizes, modes, strict=True):
        stop = at + width * height * Image.getmodebands(mode.decode())
        yield Image.frombytes(mode.decode(), (width, height), content[at:stop])
        at = stop


@dataclass(frozen=True, kw_only=True)
class _RemoteTable:
    """Makes an image table in another process."""

    backgrounds: tuple[Colour, ...]
    thumbnails: bool

    @contextmanager
    def open(self, raw: RawData, split: str, start: int, folder: Path) -> Iterator[_ImageTable]:
        del split, start, folder
        yield _ImageTable(raw, self.backgrounds, Thumbnails() if self.thumbnails else None)


def _shared_groups(raw: RawData, result: ScanResult, source: Source, group: str) -> Iterator[DataIssue]:
    """Yield an issue for each image whose group an image of another split before it has."""
    first: dict[str, tuple[str, str]] = {}
    for split, images in raw.splits.items():
        groups = groups_of(images, group, source)
        for index in np.flatnonzero(result.usable[split]).tolist():
            file, name = images.locations[index], groups[index]
            place, original = first.setdefault(name, (split, file))
            if place != split:
                reason = f"the group {shown(name)} of {original}"
                yield DataIssue(kind="group across splits", file=file, reason=reason)


def _small_classes(raw: RawData, result: ScanResult) -> Iterator[DataIssue]:
    """Yield an issue for each class without images, or with few training images, and for a single class."""
    if len(raw.class_names) < 2:
        reason = f"one class only, {', '.join(map(repr, raw.class_names))}, expected at least two"
        yield DataIssue(kind="empty class", file="train", reason=reason)
    for split_name, split in raw.splits.items():
        counts = result.class_counts(raw, split_name)
        usual = median(counts)
        for index, name in enumerate(raw.class_names):
            location = split.class_folder(name) or f"{split_name}, class {name!r}"
            if not counts[index] and split_name == "train":
                yield DataIssue(kind="empty class", file=location, reason="no usable training images")
            elif not counts[index]:
                yield DataIssue(
                    kind="few images",
                    file=location,
                    reason=f"no usable {split_name} images: cannot be scored",
                )
            elif split_name == "train" and counts[index] < max(FEW, FEW_SHARE * usual):
                reason = (
                    f"{plural(counts[index], 'training image')}; the median of the classes is {usual:,.0f}"
                )
                yield DataIssue(kind="few images", file=location, reason=reason)
